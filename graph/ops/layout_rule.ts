/** The layout rule of every op: finds the signature that a node's inputs fit on each mesh axis, and its outputs' layouts. */
import { GraphError } from '../ir/error.js';
import type { Attrs, Value } from '../ir/graph.js';
import {
  type Layout,
  type MeshAxis,
  meshAxes,
  type Placement,
  placementOn,
  replicated,
} from '../ir/layout.js';
import type { Op } from './op.js';
import { isPresent, type OperandRule } from './operands.js';
import type { Signature, SignatureEntry } from './signatures.js';

/** The signatures that one turn of a node's repeated operands may take. */
export interface Turn {
  /** Places of the turn's operands in the node's lists, in the order of the operand rule. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly signatures: readonly TurnSignature[];
}

export interface TurnSignature {
  readonly inputs: readonly Placement[];
  readonly outputs: readonly Placement[];
}

/** Returns the turns of a node, one where nothing is repeated. The inputs are known to fit the op's shape rule. */
export function signatureTurns(op: Op, inputs: readonly Value[], attrs: Attrs): Turn[] {
  const { operands, signatures } = op;
  if (typeof signatures === 'function') return [wholeNode(inputs, signatures(inputs, attrs))];
  if (operands === undefined || signatures === undefined)
    return [wholeNode(inputs, [{ inputs: inputs.map(() => 'R'), outputs: ['R'] }])];
  const turns = countTurns(operands.inputs, inputs.length, attrs);
  const transposed = op.transposed?.(attrs) ?? [];
  return Array.from({ length: turns }, (_, turn) => {
    const ins = operandsOfTurn(operands.inputs, turns, turn, attrs);
    const outs = operandsOfTurn(operands.outputs, turns, turn, attrs);
    const values = ins.map(({ place }) => inputs[place]!);
    const turnSignatures = signatures.flatMap((signature) => {
      const entries = ins.map(({ entry, place }) =>
        transposed[place] ? transpose(signature.inputs[entry]!) : signature.inputs[entry]!,
      );
      if (entries.includes('-')) return [];
      const outputs = outs.map(({ entry }) => signature.outputs[entry]!);
      return eachDimension({ inputs: entries, outputs }, values);
    });
    const places = (list: readonly TurnOperand[]) => list.map(({ place }) => place);
    return { inputs: places(ins), outputs: places(outs), signatures: turnSignatures };
  });
}

/** The one turn of a node whose signatures name each of its operands. */
const wholeNode = (inputs: readonly Value[], signatures: readonly Signature[]): Turn => ({
  inputs: inputs.map((_, i) => i),
  outputs: signatures[0]!.outputs.map((_, i) => i),
  signatures: signatures.flatMap((signature) => eachDimension(signature, inputs)),
});

/** An operand: its entry in a signature, and its place in the node's list. */
interface TurnOperand {
  readonly entry: number;
  readonly place: number;
}

/** The operands of a turn, in the order of the rule. In a node's list repeated ones alternate and come first. */
function operandsOfTurn(rule: OperandRule, turns: number, turn: number, attrs: Attrs): TurnOperand[] {
  const repeated = rule.filter(({ arity }) => arity === 'many').length;
  let [nextRepeated, nextSingle] = [turn * repeated, turns * repeated];
  return rule.flatMap((group, entry) => {
    if (!isPresent(group, attrs)) return [];
    return { entry, place: group.arity === 'many' ? nextRepeated++ : nextSingle++ };
  });
}

function countTurns(rule: OperandRule, operands: number, attrs: Attrs): number {
  const present = rule.filter((group) => isPresent(group, attrs));
  const repeated = present.filter(({ arity }) => arity === 'many').length;
  return repeated === 0 ? 1 : (operands - (present.length - repeated)) / repeated;
}

const transpose = (entry: SignatureEntry): SignatureEntry =>
  entry === 'S0' ? 'S1' : entry === 'S1' ? 'S0' : entry;

/** A signature with `S` as one for each dimension that its operands have. */
function eachDimension(signature: Signature, values: readonly Value[]): TurnSignature[] {
  const ranks = values.filter((_, i) => signature.inputs[i] === 'S').map(({ axes }) => axes.length);
  if (ranks.length === 0) return [signature as TurnSignature];
  return Array.from({ length: Math.min(...ranks) }, (_, dimension) => {
    const along = (entry: SignatureEntry) => (entry === 'S' ? `S${dimension}` : entry) as Placement;
    return { inputs: signature.inputs.map(along), outputs: signature.outputs.map(along) };
  });
}

/**
 * Returns the layout of each of `count` outputs: on every mesh axis, what the signature that fits the inputs gives.
 *
 * @throws GraphError where none fits
 */
export function outputLayouts(op: Op, inputs: readonly Value[], attrs: Attrs, count: number): Layout[] {
  const splitAxes = inputs.every(({ layout }) => layout === replicated)
    ? []
    : meshAxes.filter((axis) => inputs.some(({ layout }) => placementOn(layout, axis) !== 'R'));
  if (splitAxes.length === 0) return new Array<Layout>(count).fill(replicated);
  const turns = signatureTurns(op, inputs, attrs);
  const placements = splitAxes.map((axis) => outputPlacements(op, turns, inputs, axis));
  return Array.from({ length: count }, (_, i) =>
    Object.fromEntries(
      splitAxes.flatMap((axis, a) => (placements[a]![i] === 'R' ? [] : [[axis, placements[a]![i]!]])),
    ),
  );
}

function outputPlacements(
  op: Op,
  turns: readonly Turn[],
  inputs: readonly Value[],
  axis: MeshAxis,
): Placement[] {
  const outputs: Placement[] = [];
  for (const turn of turns) {
    const inputPlacements = turn.inputs.map((place) => placementOn(inputs[place]!.layout, axis));
    const fittingSignature = turn.signatures.find((signature) => same(signature.inputs, inputPlacements));
    const refuse = (expected: string) => {
      const operands = turn.inputs.map((place, i) => `${inputs[place]!.name} ${inputPlacements[i]}`);
      return new GraphError(
        `${op.name} on mesh axis '${axis}': ${operands.join(', ')}; ${expected}: convert an input first`,
      );
    };
    if (fittingSignature === undefined)
      throw refuse(`its signatures are ${turn.signatures.map(print).join(', ')}`);
    turn.outputs.forEach((place, i) => {
      const before = outputs[place] ?? fittingSignature.outputs[i]!;
      if (before !== fittingSignature.outputs[i])
        throw refuse(`these give ${fittingSignature.outputs[i]}, the operands before them ${before}`);
      outputs[place] = before;
    });
  }
  return outputs;
}

const same = (a: readonly string[], b: readonly string[]): boolean => a.every((entry, i) => entry === b[i]);

const print = ({ inputs, outputs }: TurnSignature): string => `'${[...inputs, '->', ...outputs].join(' ')}'`;
