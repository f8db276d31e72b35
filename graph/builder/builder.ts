/**
 * Writes graphs. A model's file reads as its forward pass:
 *
 *     const g = new GraphBuilder('tiny', { T: 64, D: 32, H: 4, G: 2, K: 8, F: 96, V: 1000, P: 64 });
 *     const idsT = g.input('ids', 'i32', 'T');
 *     const embedVD = g.param('model.embed_tokens.weight', 'bf16', 'V D');
 *     let xTD = g.embedding('embed', embedVD, idsT);
 *     for (let i = 0; i < layers; i++) g.scope(`layers.${i}`, () => { xTD = g.add('out', xTD, …); });
 *     g.output('hidden', g.rmsnorm('norm', xTD, g.param('model.norm.weight', 'bf16', 'D'), 1e-5));
 *     g.output('head', embedVD);
 *     const graph = g.build();
 *
 * Axes are checked: a product contracts `D` with `D`, never with an `HK` that happens to have its size.
 */
import { GraphError } from '../ir/error.js';
import type { Attrs, AxisSizes, Graph, Node, Phase, TensorRole, Value } from '../ir/graph.js';
import { axisSize, constantTensor } from '../ir/graph.js';
import { hasDimensions, type Layout, printLayout, replicated } from '../ir/layout.js';
import type { DType } from '../ir/plan.js';
import { matmulCall } from '../ops/matmul.js';
import type { EmitOptions, OpCall } from '../ops/op.js';
import { checkAttributes } from '../ops/op.js';
import { opOf } from '../ops/registry.js';
import { checkTypes, inferTypes } from '../ops/types.js';

type NewValue = Pick<Value, 'name' | 'kind' | 'role' | 'axes' | 'dtype' | 'layout'>;

interface NewNode extends OpCall {
  readonly op: string;
}

export interface AttentionOptions {
  readonly headDim: number;
  /** Factor of the scores; 1/√headDim where it is null. */
  readonly scale: number | null;
  readonly causal: boolean;
  readonly window: number | null;
}

export class GraphBuilder {
  readonly #values: Value[] = [];
  readonly #nodes: Node[] = [];
  #outputs: Record<string, number> = {};
  readonly #byName = new Map<string, Value>();
  #currentScope = '';
  #currentPhase: Phase = 'forward';
  #axes: AxisSizes;

  constructor(
    readonly name: string,
    axes: AxisSizes,
  ) {
    this.#axes = axes;
  }

  /** A builder that goes on where `graph` ends; `graph` itself stays as it is. */
  static from(graph: Graph): GraphBuilder {
    const builder = new GraphBuilder(graph.name, graph.axes);
    for (const value of graph.values) builder.#remember(value);
    for (const node of graph.nodes) builder.#nodes.push(node);
    builder.#outputs = { ...graph.outputs };
    return builder;
  }

  /** A builder with the values and outputs of `graph` and none of its nodes: for passes that write them anew. */
  static withValuesOf(graph: Graph): GraphBuilder {
    return GraphBuilder.from({ ...graph, nodes: [] });
  }

  build(): Graph {
    return {
      name: this.name,
      axes: this.#axes,
      values: [...this.#values],
      nodes: [...this.#nodes],
      outputs: { ...this.#outputs },
    };
  }

  /** Gives axis letters a size. */
  setAxes(sizes: AxisSizes): void {
    this.#axes = { ...this.#axes, ...sizes };
  }

  /** A slot that the host fills for each run. `axes`: labels with spaces between, e.g. `T` or `8`. */
  input(name: string, dtype: DType, axes: string, layout: Layout = replicated): Value {
    return this.#declare({ name, kind: 'input', role: null, dtype, axes, layout });
  }

  /** A parameter under its Hugging Face name, in the dtype of its file. It is trained unless a pass freezes it. */
  param(name: string, dtype: DType, axes: string, layout: Layout = replicated): Value {
    return this.#declare({ name, kind: 'param', role: 'trained', dtype, axes, layout });
  }

  /** A tensor that is computed once and never trained, such as the RoPE table; called `constantTensor(name)` in plans. */
  constant(name: string, dtype: DType, axes: string): Value {
    return this.#declare({
      name: constantTensor(name),
      kind: 'constant',
      role: 'constant',
      dtype,
      axes,
      layout: replicated,
    });
  }

  /** A tensor of the context that the graph writes. */
  state(name: string, role: TensorRole, dtype: DType, axes: string, layout: Layout = replicated): Value {
    return this.#declare({ name, kind: 'state', role, dtype, axes, layout });
  }

  /** A slot that the host reads after a run. */
  outputSlot(name: string, dtype: DType, axes: string): Value {
    return this.#declare({ name, kind: 'output', role: null, dtype, axes, layout: replicated });
  }

  /** Names `value` as what the graph is for; `hidden` [T, D] and `head` [V, D] are what a language model declares. */
  output(name: string, value: Value): void {
    this.#outputs[name] = value.id;
  }

  find(name: string): Value | null {
    return this.#byName.get(name) ?? null;
  }

  /** Number of values; the next gets this id. */
  get size(): number {
    return this.#values.length;
  }

  /** The value with this id, null where there is none yet. */
  value(id: number): Value | null {
    return this.#values[id] ?? null;
  }

  /**
   * Nodes written by `write` belong to `scope`, such as `layers.3`, and their values are named within it. A scope is what
   * activation checkpointing recomputes as one.
   */
  scope<T>(scope: string, write: () => T): T {
    const outer = this.#currentScope;
    this.#currentScope = scope;
    try {
      return write();
    } finally {
      this.#currentScope = outer;
    }
  }

  /** Nodes written by `write` belong to `phase`. */
  phase<T>(phase: Phase, write: () => T): T {
    const outer = this.#currentPhase;
    this.#currentPhase = phase;
    try {
      return write();
    } finally {
      this.#currentPhase = outer;
    }
  }

  /** Appends a node: the op's rules give its outputs' axes and layouts. */
  emit = (op: string, inputs: readonly Value[], attrs: Attrs = {}, options: EmitOptions = {}): Value[] => {
    const types = inferTypes(opOf(op), inputs, attrs);
    const prefix = this.#currentScope === '' ? '' : `${this.#currentScope}.`;
    const outputs = types.map((type, i) =>
      this.#addValue({
        name: this.#freshName(
          options.names?.[i] === undefined ? `${prefix}${op}` : `${prefix}${options.names[i]}`,
        ),
        kind: 'intermediate',
        role: null,
        axes: type.axes,
        dtype: options.dtypes?.[i] ?? type.dtype,
        layout: type.layout,
      }),
    );
    this.#addNode({ op, inputs, outputs, attrs });
    return outputs;
  };

  /**
   * Appends a node that writes `outputs`, which exist already: state, output slots, values of a rewritten node.
   *
   * @throws GraphError unless their shapes and layouts are what the op's rules give
   */
  append(call: NewNode): void {
    checkTypes(opOf(call.op), call, this.#axes);
    this.#addNode(call);
  }

  #addNode(call: NewNode): void {
    this.#nodes.push({
      op: call.op,
      inputs: call.inputs.map((value) => value.id),
      outputs: call.outputs.map((value) => value.id),
      attrs: call.attrs,
      scope: this.#currentScope,
      phase: this.#currentPhase,
    });
  }

  /**
   * Appends a node of the graph that this builder was made from, with its own scope and phase. Its types were checked when it
   * was made.
   */
  appendNode(node: Node): void {
    checkAttributes(opOf(node.op), node.attrs);
    this.#nodes.push(node);
  }

  /** Gives an intermediate value another name, made unique. Nodes hold ids, so nothing else changes. */
  rename(value: Value, name: string): void {
    const current = this.#values[value.id]!;
    this.#byName.delete(current.name);
    const renamed = { ...current, name: this.#freshName(name) };
    this.#values[value.id] = renamed;
    this.#byName.set(renamed.name, renamed);
  }

  /** A new intermediate value like `value`. */
  clone(value: Value, name: string): Value {
    return this.#addValue({ ...value, name: this.#freshName(name), kind: 'intermediate', role: null });
  }

  /** table [V, D], ids i32 [T] → [T, D]. */
  embedding(name: string, tableVD: Value, idsT: Value): Value {
    return this.emit('embedding', [tableVD, idsT], {}, { names: [name] })[0]!;
  }

  /** x [T, I], weight [O, I] [, bias [O]] → x·weightᵀ + bias, [T, O]. */
  linear(name: string, x: Value, weight: Value, bias: Value | null = null): Value {
    const call = matmulCall(
      { products: [{ a: x, b: weight, transA: false, transB: true, alpha: 1 }], bias, residual: null },
      'f32',
    );
    return this.emit('matmul', call.inputs, call.attrs, { names: [name] })[0]!;
  }

  add(name: string, a: Value, b: Value): Value {
    return this.emit('add', [a, b], {}, { names: [name] })[0]!;
  }

  scale(name: string, x: Value, alpha: number): Value {
    return this.emit('scale', [x], { alpha }, { names: [name] })[0]!;
  }

  /** x [T, D], weight [D] → [T, D]. */
  rmsnorm(name: string, x: Value, weight: Value, eps: number): Value {
    return this.emit('rmsnorm', [x, weight], { eps }, { names: [name, `${name}.rstd`] })[0]!;
  }

  /** x [T, n·K], table f32 [P, K] (K/2 cosines, then K/2 sines), positions i32 [T] → [T, n·K]. */
  rope(name: string, x: Value, tablePK: Value, positionsT: Value, { headDim }: { headDim: number }): Value {
    const attrs = { head_dim: headDim, inverse: false };
    return this.emit('rope', [x, tablePK, positionsT], attrs, { names: [name] })[0]!;
  }

  /**
   * q [T, H·K], k and v [T, G·K], spans i32 [T, 2] (first and last key that a token sees) → [T, H·K]. `causal` and `window` say
   * what the host writes to the spans: no key after the token itself, and none `window` tokens away or more (null: no bound).
   */
  attention(
    name: string,
    qkv: { q: Value; k: Value; v: Value; spansT2: Value },
    { headDim, scale, causal, window }: AttentionOptions,
  ): Value {
    const attrs = {
      compute: 'f32',
      head_dim: headDim,
      scale: scale ?? 1 / Math.sqrt(headDim),
      causal,
      window: window ?? 0,
    };
    return this.emit('attention', [qkv.q, qkv.k, qkv.v, qkv.spansT2], attrs, {
      names: [name, `${name}.lse`],
    })[0]!;
  }

  /** gate and up [T, F] → fn(gate) · up, with an activation function such as `silu`. */
  glu(name: string, gate: Value, up: Value, fn: string): Value {
    return this.emit('glu', [gate, up], { fn }, { names: [name] })[0]!;
  }

  /** x → fn(x), with an activation function such as `gelu`. */
  act(name: string, x: Value, fn: string): Value {
    return this.emit('act', [x], { fn }, { names: [name] })[0]!;
  }

  /** logits [T, V], labels i32 [T] (negative: masked), weight f32 [1] → weight · Σ −log p(label), [1]. */
  crossEntropy(name: string, logits: Value, labelsT: Value, weight: Value): Value {
    const attrs = { grad: false, accumulate: 'never' };
    return this.emit('cross_entropy', [logits, labelsT, weight], attrs, { names: [name] })[0]!;
  }

  #declare(declared: Omit<NewValue, 'axes'> & { readonly axes: string }): Value {
    const { name, kind, dtype, axes } = declared;
    const known = this.#byName.get(name);
    if (known?.kind === 'intermediate') {
      // Slots and tensors are found by their name, an intermediate value is not: it gives way.
      this.rename(known, `${name}.0`);
    } else if (known !== undefined) {
      // Tied parameters and shared inputs are declared where they are used; they must agree.
      const again = `${kind} ${dtype} [${axes}] ${printLayout(declared.layout)}`.trimEnd();
      const before =
        `${known.kind} ${known.dtype} [${known.axes.join(' ')}] ${printLayout(known.layout)}`.trimEnd();
      if (before === again) return known;
      throw new GraphError(`graph ${this.name}: '${name}' is declared twice, as ${before} and as ${again}`);
    }
    const labels = axes.split(' ');
    if (!hasDimensions(declared.layout, labels.length))
      throw new GraphError(
        `${name}: ${printLayout(declared.layout)} splits a dimension that [${axes}] lacks`,
      );
    return this.#addValue({ ...declared, axes: labels });
  }

  #addValue({ name, kind, role, axes, dtype, layout }: NewValue): Value {
    const shape = axes.map((label) => axisSize(label, this.#axes));
    const made: Value = { id: this.#values.length, name, axes, shape, dtype, layout, kind, role };
    this.#remember(made);
    return made;
  }

  #remember(value: Value): void {
    this.#values.push(value);
    this.#byName.set(value.name, value);
  }

  readonly #counts = new Map<string, number>();

  #freshName(name: string): string {
    if (!this.#byName.has(name)) return name;
    let count = this.#counts.get(name) ?? 1;
    while (this.#byName.has(`${name}.${count}`)) count++;
    this.#counts.set(name, count + 1);
    return `${name}.${count}`;
  }
}
