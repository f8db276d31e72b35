/**
 * Layout signatures: how the operands of an op may lie across the ranks of one mesh axis, as data. Each names a placement for
 * each operand, in the order of the op's operand rule:
 *
 *     R R -> R            whole values
 *     S0 R -> S0          rows of the first input give rows of the output
 *     S1 S0 - - -> P      a product over split columns and rows gives summands; `-`: only without that operand
 *     S S -> S            along any dimension, the same one throughout
 *
 * A flagged operand that a node lacks drops out. Operands of `many` are repeated: each turn takes a signature of its own, and all
 * turns agree on the operands that are not repeated. A signature means that the op, run by every rank on its own part of the
 * inputs, leaves each its part of the outputs; tests/unit/graph/layouts.test.ts proves every one of them.
 */
import { GraphError } from '../ir/error.js';
import type { Attrs, Value } from '../ir/graph.js';
import type { Placement } from '../ir/layout.js';

/** `S`: along any dimension, the same one throughout; `-`: only where the node has no such operand. */
export type SignatureEntry = Placement | 'S' | '-';

export interface Signature {
  readonly inputs: readonly SignatureEntry[];
  readonly outputs: readonly SignatureEntry[];
}

/**
 * The signatures of a node whose attributes or shapes decide them, as an einsum's letters do. They have an entry for each of the
 * node's operands, in the order of its lists.
 */
export type SignatureRule = (inputs: readonly Value[], attrs: Attrs) => readonly Signature[];

/** Parses signatures. @throws GraphError for one that cannot be read */
export function signatures(...texts: readonly string[]): readonly Signature[] {
  return texts.map((text) => {
    const sides = text.split('->').map((side) => side.split(' ').filter((entry) => entry !== ''));
    const [inputs, outputs] = sides as [SignatureEntry[], SignatureEntry[]];
    if (sides.length !== 2 || !sides.flat().every((entry) => /^(R|P|-|S\d?)$/.test(entry)))
      throw new GraphError(
        `signature '${text}': should be placements R, S, S0, S1, … or P on both sides of ->`,
      );
    return { inputs, outputs };
  });
}
