/** Derives the types of a node's outputs: from its attributes, the op's shape rule and its layout signatures. */
import type { Attrs, Value } from '../ir/graph.js';
import type { Layout } from '../ir/layout.js';
import { outputLayouts } from './layout_rule.js';
import type { Op, OutputType } from './op.js';
import { checkAttributes } from './op.js';

export interface ValueType extends OutputType {
  readonly layout: Layout;
}

/** @throws GraphError when the attributes or the inputs are none of the op's */
export function inferTypes(op: Op, inputs: readonly Value[], attrs: Attrs): ValueType[] {
  checkAttributes(op, attrs);
  const types = op.infer(inputs, attrs);
  const layouts = outputLayouts(op, inputs, attrs, types.length);
  return types.map(({ axes, dtype }, i) => ({ axes, dtype, layout: layouts[i]! }));
}
