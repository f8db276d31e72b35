/**
 * What the ops' ONNX rules write to. A packed buffer has one axis T; in ONNX it is batch × sequence. Most ops work on rows
 * and keep [T, N] with T = batch · sequence; those that look at a whole sequence ask for `batched` [batch, sequence, N].
 * Reshapes between the two cost nothing at run time, and a pair of them cancels here.
 */

import { numberToHalf } from '../../shared/safetensors/floats.js';
import { GraphError } from '../ir/error.js';
import type { OnnxAttr, OnnxDType, OnnxInitializer, OnnxModel, OnnxNode, OnnxSlot } from './model.js';
import { isLiteral } from './model.js';

/** Of activations, weights and caches. */
export type OnnxFloat = 'f32' | 'f16';

/** Names of a decoder's inputs and outputs, as onnxruntime-genai and transformers.js expect them. */
export const slots = {
  ids: 'input_ids',
  mask: 'attention_mask',
  positions: 'position_ids',
  logits: 'logits',
  pastKey: (layer: number) => `past_key_values.${layer}.key`,
  pastValue: (layer: number) => `past_key_values.${layer}.value`,
  presentKey: (layer: number) => `present.${layer}.key`,
  presentValue: (layer: number) => `present.${layer}.value`,
} as const;

export interface NodeOptions {
  readonly attrs?: Readonly<Record<string, OnnxAttr>>;
  /** One name an output; made from the op's where left out. */
  readonly outputs?: readonly string[];
}

export class OnnxTarget {
  readonly #nodes: OnnxNode[] = [];
  readonly #inputs: OnnxSlot[] = [];
  readonly #outputs: OnnxSlot[] = [];
  readonly #initializers = new Map<string, OnnxInitializer>();
  readonly #made = new Map<string, string>();
  readonly #rowsOf = new Map<string, string>();
  readonly #batchedOf = new Map<string, string>();
  readonly #counts = new Map<string, number>();
  #attentionLayers = 0;
  #scope = '';

  constructor(readonly float: OnnxFloat) {
    const tokens = ['batch_size', 'sequence_length'];
    this.input({ name: slots.ids, dtype: 'i64', dims: tokens });
    this.input({ name: slots.mask, dtype: 'i64', dims: ['batch_size', 'total_sequence_length'] });
    this.input({ name: slots.positions, dtype: 'i64', dims: tokens });
  }

  /** The model; what no output needs is left out. */
  build(name: string): OnnxModel {
    const needed = new Set(this.#outputs.map((slot) => slot.name));
    const nodes = this.#nodes.toReversed().filter((node) => {
      if (!node.outputs.some((output) => needed.has(output))) return false;
      for (const input of node.inputs) needed.add(input);
      return true;
    });
    return {
      name,
      nodes: nodes.toReversed(),
      inputs: this.#inputs,
      outputs: this.#outputs,
      initializers: [...this.#initializers.values()].filter((tensor) => needed.has(tensor.name)),
    };
  }

  input(slot: OnnxSlot): string {
    this.#inputs.push(slot);
    return slot.name;
  }

  output(slot: OnnxSlot): string {
    this.#outputs.push(slot);
    return slot.name;
  }

  /** Appends a node and returns the name of its first output; an input that is null is left out. */
  node(op: string, inputs: readonly (string | null)[], { attrs = {}, outputs }: NodeOptions = {}): string {
    const names = outputs ?? [this.fresh(op)];
    this.#nodes.push({
      name: names[0]!,
      op,
      inputs: inputs.map((input) => input ?? ''),
      outputs: names,
      attrs,
    });
    return names[0]!;
  }

  /** A name that no value has yet, after what is being written: `layers.0.mlp.up_proj/Gemm`. */
  fresh(op: string): string {
    const name = this.#scope === '' ? op : `${this.#scope}/${op}`;
    const count = this.#counts.get(name) ?? 0;
    this.#counts.set(name, count + 1);
    return count === 0 ? name : `${name}_${count}`;
  }

  /** Nodes that `write` writes are named after `scope`. */
  within<T>(scope: string, write: () => T): T {
    const outer = this.#scope;
    this.#scope = scope;
    try {
      return write();
    } finally {
      this.#scope = outer;
    }
  }

  /** What `make` writes, once for the whole graph: layers share it. */
  shared(key: string, make: () => string): string {
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const name = this.within(key, make);
    this.#made.set(key, name);
    return name;
  }

  /** An int64 literal: a list, or a scalar. */
  int(value: number | readonly number[]): string {
    const list = typeof value === 'number' ? [value] : value;
    const data = new Uint8Array(BigInt64Array.from(list, BigInt).buffer);
    const shape = typeof value === 'number' ? [] : [list.length];
    return this.#literal(`int_${typeof value === 'number' ? value : `[${value}]`}`, 'i64', shape, data);
  }

  /** A scalar of the graph's float type. */
  scalar(value: number): string {
    const data = this.float === 'f16' ? Uint16Array.of(numberToHalf(value)) : Float32Array.of(value);
    return this.#literal(`scalar_${value}`, this.float, [], new Uint8Array(data.buffer));
  }

  /** A parameter or constant of the graph, in the graph's float type; `columns` takes a part of a matrix. */
  tensor(source: string, shape: readonly number[], columns: readonly [number, number] | null = null): string {
    const name = columns === null ? source : `${source}[${columns[0]}:${columns[1]}]`;
    const own = columns === null ? shape : [shape[0]!, columns[1] - columns[0]];
    this.#initializers.set(name, { name, dtype: this.float, shape: own, source, columns });
    return name;
  }

  /** The parameter or constant that `name` holds, for a rule that needs a part of it: `tensor(sourceOf(name), …)`. */
  sourceOf(name: string): string {
    const tensor = this.#initializers.get(name);
    if (tensor === undefined || isLiteral(tensor))
      throw new GraphError(`ONNX: '${name}' should be a parameter or constant of the file`);
    return tensor.source;
  }

  /** [batch, sequence, N…] as rows [T, N…]. */
  rows(batched: string, width: readonly number[]): string {
    const known = this.#rowsOf.get(batched);
    if (known !== undefined) return known;
    return this.#pair(this.node('Reshape', [batched, this.int([-1, ...width])]), batched).rows;
  }

  /** Rows [T, N…] as [batch, sequence, N…]. */
  batched(rows: string, width: readonly number[]): string {
    const known = this.#batchedOf.get(rows);
    if (known !== undefined) return known;
    const shape = this.shared(`batched_${width}`, () => {
      const tokens = this.shared('tokens', () => this.node('Shape', [slots.ids]));
      return this.node('Concat', [tokens, this.int(width)], { attrs: { axis: { i: 0 } } });
    });
    return this.#pair(rows, this.node('Reshape', [rows, shape])).batched;
  }

  /** A layer's part of the key-value cache: names of the past, and of the present that the rule is to write. */
  cache(
    heads: number,
    size: number,
  ): Record<'pastKey' | 'pastValue' | 'presentKey' | 'presentValue', string> {
    const layer = this.#attentionLayers++;
    const past = ['batch_size', heads, 'past_sequence_length', size];
    const present = ['batch_size', heads, 'total_sequence_length', size];
    return {
      pastKey: this.input({ name: slots.pastKey(layer), dtype: this.float, dims: past }),
      pastValue: this.input({ name: slots.pastValue(layer), dtype: this.float, dims: past }),
      presentKey: this.output({ name: slots.presentKey(layer), dtype: this.float, dims: present }),
      presentValue: this.output({ name: slots.presentValue(layer), dtype: this.float, dims: present }),
    };
  }

  #pair(rows: string, batched: string): { rows: string; batched: string } {
    this.#rowsOf.set(batched, rows);
    this.#batchedOf.set(rows, batched);
    return { rows, batched };
  }

  #literal(name: string, dtype: OnnxDType, shape: readonly number[], data: Uint8Array): string {
    this.#initializers.set(name, { name, dtype, shape, data });
    return name;
  }
}
