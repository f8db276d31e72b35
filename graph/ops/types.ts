/** Derives the types of a node's outputs: from its attributes, the op's shape rule and its layout signatures. */
import { GraphError } from '../ir/error.js';
import type { Attrs, AxisSizes, Graph, Value } from '../ir/graph.js';
import { axisSize, getValue, printValue } from '../ir/graph.js';
import { type Layout, printLayout, sameLayout } from '../ir/layout.js';
import { outputLayouts } from './layout_rule.js';
import type { Op, OpCall, OutputType } from './op.js';
import { checkAttributes, sameAxes } from './op.js';
import { opOf } from './registry.js';

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

/**
 * @param sizes of the graph's axes
 * @throws GraphError unless the shapes and layouts of the outputs are what the op makes of the inputs
 */
export function checkTypes(op: Op, { inputs, outputs, attrs }: OpCall, sizes: AxisSizes): void {
  const types = inferTypes(op, inputs, attrs);
  if (types.length !== outputs.length)
    throw new GraphError(`${op.name} has ${types.length} outputs, not ${outputs.length}`);
  types.forEach((type, i) => {
    const output = outputs[i]!;
    if (hasShapeOf(output, type, sizes) && sameLayout(output.layout, type.layout)) return;
    const expected = `[${type.axes.join(' ')}] ${printLayout(type.layout)}`.trimEnd();
    throw new GraphError(`${op.name}: output ${printValue(output)} should be ${expected}`);
  });
}

/** Compares sizes where labels differ: one pass may call `8` what another calls `HK`. */
const hasShapeOf = (output: Value, type: OutputType, sizes: AxisSizes): boolean =>
  sameAxes(output, type) ||
  (output.shape.length === type.axes.length &&
    type.axes.every((label, i) => axisSize(label, sizes) === output.shape[i]));

/** @throws GraphError unless every node of the graph fits its op */
export function checkGraph(graph: Graph): void {
  const values = (ids: readonly number[]) => ids.map((id) => getValue(graph, id));
  for (const { op, inputs, outputs, attrs } of graph.nodes)
    checkTypes(opOf(op), { inputs: values(inputs), outputs: values(outputs), attrs }, graph.axes);
}
