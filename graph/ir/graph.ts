/**
 * A model as immutable data: values, and nodes that make values from values. Written by a `GraphBuilder`, rewritten by
 * the passes, executed in float64 by the interpreter, and turned into a plan by `compile.ts`.
 */
import { GraphError } from './error.js';
import { type Layout, printLayout } from './layout.js';
import type { AttrValue, DType } from './plan.js';

/** The letters an axis is written with, and what they stand for. */
export const axisLegend = {
  T: 'tokens of the packed buffer',
  D: 'model width',
  H: 'query heads',
  G: 'key/value heads',
  K: 'head size',
  F: 'feed-forward width',
  V: 'vocabulary',
  R: 'LoRA rank',
  P: 'positions in the RoPE table',
} as const;

type Letter = keyof typeof axisLegend;

/** A letter of the legend; with a prefix (`v:D`, `e:F`) an axis of its own, for another tower or for experts. */
export type Axis = Letter | `${string}:${Letter}`;

export type AxisSizes = Readonly<Partial<Record<Axis, number>>>;

/**
 * The origin of a value. `param` and `constant` are tensors that a graph reads; `state` is a tensor of the context
 * that a graph writes (gradients, moments); `input` and `output` are slots of one run; `staged` is what is on its way
 * between a slot and the program (`passes/slots.ts`); the rest is `intermediate`.
 */
export type ValueKind = 'param' | 'constant' | 'state' | 'input' | 'output' | 'staged' | 'intermediate';

/**
 * The use of a tensor of the context. A parameter is `frozen` or `trained`; a step makes its `gradient`, and its optimizer
 * keeps `optimizer` tensors for it; a `statistic` (loss, norm) is of the step as a whole.
 */
export type TensorRole = 'frozen' | 'trained' | 'gradient' | 'optimizer' | 'statistic' | 'constant';

export interface Value {
  readonly id: number;
  readonly name: string;
  /** One label a dimension: axes multiplied (`HK`, `v:Hv:K`), or a plain number (`8`). */
  readonly axes: readonly string[];
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Part of the value's type: an op refuses a combination that it has no meaning for. */
  readonly layout: Layout;
  readonly kind: ValueKind;
  /** The use of a tensor of the context, set by the pass that makes it; null for slots and intermediate values. */
  readonly role: TensorRole | null;
}

export type Attrs = Readonly<Record<string, AttrValue>>;

/** `copy` moves values between slots and the device; only `passes/slots.ts` makes such nodes. */
export type Phase = 'forward' | 'recompute' | 'backward' | 'norm' | 'update' | 'copy';

export interface Node {
  readonly op: string;
  /** Ids of values. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly attrs: Attrs;
  /** The layer that the node belongs to, `layers.3` or `vision.layers.0`; '' outside the layers. */
  readonly scope: string;
  readonly phase: Phase;
}

export interface Graph {
  readonly name: string;
  readonly axes: AxisSizes;
  /** Indexed by id. */
  readonly values: readonly Value[];
  /** In an order that computes every value before its use. */
  readonly nodes: readonly Node[];
  /** The ids of the values that the graph is run for, by name. */
  readonly outputs: Readonly<Record<string, number>>;
}

/** The name of the tensor that holds a model's constant `key`. */
export const constantTensor = (key: string): string => `const:${key}`;

const labelPattern = new RegExp(`^(([a-z][a-z0-9_]*:)?[${Object.keys(axisLegend).join('')}])+$`);

/** The axes of each label that has been read: few, and looked up for every value. */
const parsedLabels = new Map<string, readonly Axis[]>();

/** Returns the axes that a label multiplies: `HK` → H, K; `v:Hv:K` → v:H, v:K. */
function axesOfLabel(label: string): readonly Axis[] {
  const parsedAxes = parsedLabels.get(label);
  if (parsedAxes !== undefined) return parsedAxes;
  if (!labelPattern.test(label)) {
    const legend = Object.entries(axisLegend).map(([letter, meaning]) => `${letter} (${meaning})`);
    throw new GraphError(
      `axis '${label}' is neither a number nor a product of ${legend.join(', ')}, each with or without a prefix such as 'v:'`,
    );
  }
  const axes = label.match(/([a-z][a-z0-9_]*:)?[A-Z]/g) as Axis[];
  parsedLabels.set(label, axes);
  return axes;
}

/** Returns what an axis stands for: with a prefix, what its letter does. */
export const axisMeaning = (axis: Axis): string => axisLegend[axis.at(-1) as Letter];

/**
 * Returns the size of an axis label: `HK` → H · K.
 *
 * @throws GraphError where it is not a label, or the graph gives one of its axes no size
 */
export function axisSize(label: string, sizes: AxisSizes): number {
  if (/^\d+$/.test(label)) return Number(label);
  let size = 1;
  for (const axis of axesOfLabel(label)) {
    const factor = sizes[axis];
    if (factor === undefined) {
      throw new GraphError(
        `axis '${label}': the graph gives no size for '${axis}' (${axisMeaning(axis)}); it has ${Object.keys(sizes).join(' ')}`,
      );
    }
    size *= factor;
  }
  return size;
}

export const elements = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** `name[T D] bf16`, for messages and prints. */
export function printValue(value: Value): string {
  return `${value.name}[${value.axes.join(' ')}] ${value.dtype} ${printLayout(value.layout)}`.trimEnd();
}

/** The value with this id. */
export function getValue(graph: Graph, id: number): Value {
  const value = graph.values[id];
  if (value === undefined) throw new GraphError(`graph ${graph.name}: there is no value ${id}`);
  return value;
}

/** The tensors of the context that the graph's nodes read or write, in the order of its values. */
export function tensorValues(graph: Graph): Value[] {
  const isUsed = new Uint8Array(graph.values.length);
  for (const { inputs, outputs } of graph.nodes) {
    for (const id of inputs) isUsed[id] = 1;
    for (const id of outputs) isUsed[id] = 1;
  }
  return graph.values.filter(({ id, role }) => role !== null && isUsed[id] === 1);
}

/** The value that the graph declares as output `name`. */
export function outputOf(graph: Graph, name: string): Value {
  const id = graph.outputs[name];
  if (id === undefined) {
    throw new GraphError(
      `graph ${graph.name} has no output '${name}'; it has: ${Object.keys(graph.outputs).join(', ') || 'none'}`,
    );
  }
  return getValue(graph, id);
}

/** The graph as text, one node a line. */
export function printGraph(graph: Graph): string {
  const show = (id: number) => printValue(getValue(graph, id));
  const lines = graph.nodes.map((node) => {
    const place = `${node.phase} ${node.scope}`;
    const attrs = Object.entries(node.attrs).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    return `${place.padEnd(20)} ${node.outputs.map(show).join(', ')} = ${node.op}(${node.inputs.map(show).join(', ')}) ${attrs.join(' ')}`.trimEnd();
  });
  return `graph ${graph.name}\n${lines.join('\n')}\n`;
}
