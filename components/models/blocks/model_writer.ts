/**
 * The blocks that decoders are made of. A family's forward function calls them in order; each declares the parameters
 * it reads under their Hugging Face names, so tensors, linear modules and constants are derived from the graph.
 *
 * Axes: T tokens, D model, H query heads, G key/value heads, K head size, F feed-forward, V vocabulary, S document
 * boundaries, P positions.
 */
import { type AxisSizes, type DType, type Graph, GraphBuilder, type Value } from '../../../graph/index.js';
import { ModelError } from '../../../shared/errors.js';
import { type Rope, ropeTable } from './rope.js';

export interface WriterOptions {
  name: string;
  axes: AxisSizes & { T: number; K: number; P: number };
  /**
   * The dtype of each tensor's file; null makes every parameter float32, for callers that need only names and shapes.
   */
  dtypes: ReadonlyMap<string, DType> | null;
}

/** A constant that the graph reads, and how its values are computed. */
export interface ModelConstant {
  shape: number[];
  data(): Float32Array;
}

/** A rotary embedding: the table that attention reads. */
export interface RopeTable {
  readonly tablePK: Value;
}

export class ModelWriter {
  /** Values by the name of the graph's constant. */
  readonly constants = new Map<string, ModelConstant>();
  readonly #graph: GraphBuilder;
  readonly #options: WriterOptions;
  /** Module path that names are relative to, e.g. `model.layers.3`. */
  #module = 'model';
  #embedVD: Value | null = null;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#graph = new GraphBuilder(options.name, options.axes);
  }

  /** Returns the graph that was written. */
  build(): Graph {
    return this.#graph.build();
  }

  /** Returns the token embeddings [T, D] of `model.embed_tokens`. */
  embed(): Value {
    this.#embedVD = this.#param('embed_tokens.weight', 'V D');
    return this.#graph.embedding('embed', this.#embedVD, this.#graph.input('ids', 'i32', 'T'));
  }

  /**
   * Writes `count` decoder layers; names within are relative to `model.layers.<index>`, and each layer is the scope of its
   * path in the model.
   */
  layers(count: number, write: (index: number) => void): void {
    const outer = this.#module;
    for (let index = 0; index < count; index++) {
      this.#module = `${outer}.layers.${index}`;
      this.#graph.scope(this.#module.replace(/^model\./, ''), () => write(index));
    }
    this.#module = outer;
  }

  /** Returns x + y. */
  add(name: string, x: Value, y: Value): Value {
    return this.#graph.add(name, x, y);
  }

  /** Returns RMSNorm (Zhang and Sennrich 2019) with the weight `<module>.weight`. */
  rmsnorm(module: string, xTD: Value, eps: number): Value {
    return this.#graph.rmsnorm(module, xTD, this.#param(`${module}.weight`, 'D'), eps);
  }

  /** Returns x · weightᵀ [+ bias]; `axes` are those of the weight, outputs first, e.g. `HK D`. */
  linear(module: string, x: Value, axes: string, bias: boolean): Value {
    const weight = this.#param(`${module}.weight`, axes);
    const outputs = axes.split(' ')[0]!;
    return this.#graph.linear(module, x, weight, bias ? this.#param(`${module}.bias`, outputs) : null);
  }

  /** Returns the cosines and sines of a rotary embedding, shared by every layer that asks for the same. */
  rope(rope: Rope): RopeTable {
    const { K: headDim, P: positions } = this.#options.axes;
    this.constants.set('rope', {
      shape: [positions, headDim],
      data: () => ropeTable(rope, headDim, positions),
    });
    return { tablePK: this.#graph.constant('rope', 'f32', 'P K') };
  }

  /**
   * Returns grouped-query attention over the keys that each token sees: projections q, k, v, rotation of q and k, projection
   * o.
   */
  attention(module: string, xTD: Value, { rope, bias }: { rope: RopeTable; bias: boolean }): Value {
    const { K: headDim } = this.#options.axes;
    const positionsT = this.#graph.input('positions', 'i32', 'T');
    const spansT2 = this.#graph.input('spans', 'i32', 'T 2');
    const rotate = (name: string, x: Value) =>
      this.#graph.rope(name, x, rope.tablePK, positionsT, { headDim });
    const q = rotate('q_rope', this.linear(`${module}.q_proj`, xTD, 'HK D', bias));
    const k = rotate('k_rope', this.linear(`${module}.k_proj`, xTD, 'GK D', bias));
    const v = this.linear(`${module}.v_proj`, xTD, 'GK D', bias);
    const options = { headDim, scale: null, causal: true, window: null };
    const mixed = this.#graph.attention('attention', { q, k, v, spansT2 }, options);
    return this.linear(`${module}.o_proj`, mixed, 'D HK', bias);
  }

  /** Returns a gated feed-forward (Shazeer 2020): down(fn(gate(x)) ⊙ up(x)), with an activation function such as `silu`. */
  glu(module: string, xTD: Value, { fn, bias }: { fn: string; bias: boolean }): Value {
    const gate = this.linear(`${module}.gate_proj`, xTD, 'F D', bias);
    const up = this.linear(`${module}.up_proj`, xTD, 'F D', bias);
    return this.linear(`${module}.down_proj`, this.#graph.glu('glu', gate, up, fn), 'D F', bias);
  }

  /** Declares what the model is for: the hidden states [T, D], and the head [V, D] that turns them into logits. */
  head(hiddenTD: Value, { tied }: { tied: boolean }): void {
    this.#graph.output('hidden', hiddenTD);
    if (tied) this.#graph.output('head', this.#embedVD!);
    else {
      this.#module = 'lm_head';
      this.#graph.output('head', this.#param('weight', 'V D'));
    }
  }

  #param(name: string, axes: string): Value {
    const full = `${this.#module}.${name}`;
    const { dtypes } = this.#options;
    const dtype = dtypes === null ? 'f32' : dtypes.get(full);
    if (dtype === undefined) throw new ModelError(`the weights have no tensor ${full}`);
    return this.#graph.param(full, dtype, axes);
  }
}
