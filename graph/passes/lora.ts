/**
 * LoRA (Hu et al. 2021): y = x·Wᵀ becomes x·Wᵀ + s · dropout(x)·Aᵀ·Bᵀ with A [R, in], B [out, R] and s = alpha ÷ R, or
 * alpha ÷ √R (rsLoRA, Kalajdzievski 2023). W and everything else is frozen. The low-rank product joins the matmul of
 * W as a second product of the same record, so it costs no pass over y.
 */
import { GraphBuilder } from '../builder/builder.js';
import { GraphError } from '../ir/error.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';
import { randomStream } from '../ir/random_stream.js';
import type { Product } from '../ops/matmul.js';
import { matmulCall, matmulParts } from '../ops/matmul.js';
import { setTrainable } from './trainable.js';

export interface LoraScale {
  rank: number;
  alpha: number;
  /** Divide alpha by √rank instead of by rank. */
  rslora: boolean;
}

export interface LoraOptions extends LoraScale {
  /** Probability that an element of the adapter's input is dropped while training; 0 leaves the op out. */
  dropout: number;
  /** Returns whether a linear is adapted, by module name: `model.layers.0.self_attn.q_proj`. */
  matches: (module: string) => boolean;
}

/** s: what B·A is multiplied by. */
export const loraScale = ({ rank, alpha, rslora }: LoraScale): number =>
  alpha / (rslora ? Math.sqrt(rank) : rank);

const weightSuffix = '.weight';

/** Names of the module's adapter parameters. */
export const loraNames = (module: string): { a: string; b: string } => ({
  a: `${module}.lora_A.weight`,
  b: `${module}.lora_B.weight`,
});

export const isLoraParameter = (name: string): boolean => /\.lora_[AB]\.weight$/.test(name);

/** A linear layer: y [T, out] = x [T, in] · weightᵀ. */
export interface LinearModule {
  /** Module path, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly module: string;
  readonly in: number;
  readonly out: number;
}

/** Returns the linear layers of `graph`, which `insertLora` could adapt, in order. */
export function linearModules(graph: Graph): LinearModule[] {
  const modules = new Map<string, LinearModule>();
  for (const node of graph.nodes) {
    for (const { b: weight } of linearProducts(graph, node)) {
      const [out, input] = weight.shape as [number, number];
      modules.set(weight.name, { module: moduleOf(weight), in: input, out });
    }
  }
  return [...modules.values()];
}

/** Inserts adapters into every linear that matches, in training with dropout, and freezes everything else. */
export function insertLora(graph: Graph, options: LoraOptions): Graph {
  if (!Number.isInteger(options.rank) || options.rank < 1) {
    throw new GraphError(`LoRA rank is ${options.rank}, should be a whole number from 1`);
  }
  const builder = GraphBuilder.withValuesOf(graph);
  builder.setAxes({ R: options.rank });
  const scale = loraScale(options);
  let matched = false;
  for (const node of graph.nodes) {
    const adapted = linearProducts(graph, node).filter((product) => options.matches(moduleOf(product.b)));
    if (adapted.length === 0) {
      builder.appendNode(node);
      continue;
    }
    matched = true;
    const outputs = node.outputs.map((id) => getValue(graph, id));
    const inputs = node.inputs.map((id) => getValue(graph, id));
    builder.scope(node.scope, () => {
      const parts = matmulParts(inputs, node.attrs);
      const products = adapted.map((product) => lowRankProduct(builder, product, scale, options.dropout));
      const call = matmulCall(
        { ...parts, products: [...parts.products, ...products] },
        String(node.attrs.compute),
      );
      builder.append({ op: 'matmul', inputs: call.inputs, outputs, attrs: call.attrs });
    });
  }
  if (!matched) {
    throw new GraphError(
      `LoRA matches none of the model's linears, which are: ${linearModules(graph)
        .map(({ module }) => module)
        .join(', ')}`,
    );
  }
  return setTrainable(builder.build(), isLoraParameter);
}

function linearProducts(graph: Graph, node: Node): Product<Value>[] {
  if (node.op !== 'matmul') return [];
  const { products } = matmulParts(
    node.inputs.map((id) => getValue(graph, id)),
    node.attrs,
  );
  return products.filter(
    (p) => p.b.kind === 'param' && p.transB && !p.transA && p.b.name.endsWith(weightSuffix),
  );
}

const moduleOf = (weight: Value): string => weight.name.slice(0, -weightSuffix.length);

function lowRankProduct(
  builder: GraphBuilder,
  base: Product<Value>,
  scale: number,
  probability: number,
): Product<Value> {
  const module = moduleOf(base.b);
  const [out, into] = base.b.axes as [string, string];
  const names = loraNames(module);
  const a = builder.param(names.a, 'f32', `R ${into}`);
  const b = builder.param(names.b, 'f32', `${out} R`);
  const x = probability === 0 ? base.a : dropped(builder, base.a, probability, randomStream(module));
  const u = builder.linear(`${module.split('.').at(-1)!}.lora_u`, x, a);
  return { a: u, b, transA: false, transB: true, alpha: base.alpha * scale };
}

function dropped(builder: GraphBuilder, x: Value, probability: number, site: number): Value {
  const tokens = x.axes[0]!;
  const random = [
    builder.input('dropout_key', 'i32', '4'),
    builder.input('packs', 'i32', tokens),
    builder.input('offsets', 'i32', tokens),
  ];
  return builder.emit('dropout', [x, ...random], { probability, site }, { names: ['lora_dropout'] })[0]!;
}
