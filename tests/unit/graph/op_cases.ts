/** Ops on small inputs of their own: what their gradients, fallbacks and layout signatures are tried on. */
import type { Attrs, DType, GraphBuilder, Value } from '../../../graph/index.js';
import { activationNames } from '../../../graph/ops/activation.js';
import { matmulCall } from '../../../graph/ops/matmul.js';

/** An op on inputs of its own; trainable ones are differentiated. */
export interface Case {
  op: string;
  attrs: Attrs;
  /** name → axes; integers as `i32:axes`, frozen ones as `frozen:axes`. */
  inputs: Record<string, string>;
}

export type Sizes = Record<'T' | 'D' | 'H' | 'G' | 'K' | 'F' | 'V', number>;

const product = (transA: boolean, transB: boolean, alpha: number) => ({ a: 0, b: 0, transA, transB, alpha });

const matmulCase = (
  inputs: Record<string, string>,
  products: ReturnType<typeof product>[],
  bias = false,
  residual = false,
): Case => ({
  op: 'matmul',
  inputs,
  attrs: matmulCall({ products, bias: bias ? 0 : null, residual: residual ? 0 : null }, 'f32').attrs,
});

/** The ops that have a gradient. */
export const cases = ({ H, K }: Sizes): Record<string, Case> => ({
  add: { op: 'add', inputs: { a: 'T D', b: 'T D' }, attrs: {} },
  cast: { op: 'cast', inputs: { x: 'T D' }, attrs: {} },
  scale: { op: 'scale', inputs: { x: 'T D' }, attrs: { alpha: -1.7 } },
  embedding: { op: 'embedding', inputs: { table: 'V D', ids: 'i32:T' }, attrs: {} },
  'matmul x·Wᵀ + bias + residual': matmulCase(
    { x: 'T D', w: 'F D', bias: 'F', residual: 'T F' },
    [product(false, true, 1)],
    true,
    true,
  ),
  'matmul a·b + s·cᵀ·d': matmulCase({ a: 'T D', b: 'D F', c: 'K T', d: 'K F' }, [
    product(false, false, 1),
    product(true, false, 0.5),
  ]),
  'matmul aᵀ·bᵀ': matmulCase({ a: 'D T', b: 'F D' }, [product(true, true, 2)]),
  rmsnorm: { op: 'rmsnorm', inputs: { x: 'T D', w: 'D' }, attrs: { eps: 1e-3 } },
  rope: {
    op: 'rope',
    inputs: { x: 'T HK', table: 'frozen:T K', positions: 'i32:T' },
    attrs: { head_dim: K, inverse: false },
  },
  'rope back': {
    op: 'rope',
    inputs: { x: 'T HK', table: 'frozen:T K', positions: 'i32:T' },
    attrs: { head_dim: K, inverse: true },
  },
  attention: {
    op: 'attention',
    inputs: { q: 'T HK', k: 'T GK', v: 'T GK', spans: 'i32:T 2' },
    attrs: { compute: 'f32', head_dim: K, scale: 0.8, causal: true, window: 0 },
  },
  'attention in a window of two': {
    op: 'attention',
    inputs: { q: 'T HK', k: 'T GK', v: 'T GK', window_spans: 'i32:T 2' },
    attrs: { compute: 'f32', head_dim: K, scale: 0.8, causal: true, window: 2 },
  },
  'attention over whole documents': {
    op: 'attention',
    inputs: { q: 'T HK', k: 'T GK', v: 'T GK', document_spans: 'i32:T 2' },
    attrs: { compute: 'f32', head_dim: K, scale: 0.8, causal: false, window: 0 },
  },
  ...Object.fromEntries(
    activationNames.flatMap((fn) => [
      [`glu ${fn}`, { op: 'glu', inputs: { gate: 'T F', up: 'T F' }, attrs: { fn } }],
      [`act ${fn}`, { op: 'act', inputs: { x: 'T F' }, attrs: { fn } }],
    ]),
  ),
  dropout: {
    op: 'dropout',
    inputs: { x: 'T D', dropout_key: 'i32:4', packs: 'i32:T', offsets: 'i32:T' },
    attrs: { probability: 0.3, site: 2 },
  },
  cross_entropy: {
    op: 'cross_entropy',
    inputs: { logits: 'T V', labels: 'i32:T', weight: 'frozen:1' },
    attrs: { grad: false, accumulate: 'never' },
  },
  linear_cross_entropy: {
    op: 'linear_cross_entropy',
    inputs: { x: 'T D', w: 'V D', labels: 'i32:T', weight: 'frozen:1' },
    attrs: { compute: 'f32', dx: false, dw: false, chunk_rows: 4, accumulate: 'never' },
  },
  'einsum of a product summed': {
    op: 'einsum',
    inputs: { a: 'T D', b: 'F D', c: 'T' },
    attrs: { spec: 'td,fd,t->tf' },
  },
  'einsum that sums an axis of one operand': {
    op: 'einsum',
    inputs: { a: 'T D', b: 'T' },
    attrs: { spec: 'td,t->t' },
  },
  reshape: { op: 'reshape', inputs: { x: 'T HK' }, attrs: { axes: `T ${H} ${K}` } },
  shift: { op: 'shift', inputs: { x: 'T D' }, attrs: { by: 0.4 } },
  ...Object.fromEntries(
    ['exp', 'sigmoid', 'tanh', 'erf', 'abs'].map((fn) => [
      `unary ${fn}`,
      { op: 'unary', inputs: { x: 'T D' }, attrs: { fn } },
    ]),
  ),
  // Steep or undefined near 0: a list's elements are around 1.
  ...Object.fromEntries(
    ['reciprocal', 'log', 'rsqrt', 'sqrt'].map((fn) => [
      `unary ${fn}`,
      { op: 'unary', inputs: { x: 'D' }, attrs: { fn } },
    ]),
  ),
  ...Object.fromEntries(
    ['add', 'subtract', 'multiply', 'divide', 'maximum', 'minimum'].flatMap((fn) => [
      [`binary ${fn}`, { op: 'binary', inputs: { a: 'D', b: 'D' }, attrs: { fn } }],
      [`binary ${fn} by one number`, { op: 'binary', inputs: { a: 'T D', b: '1' }, attrs: { fn } }],
    ]),
  ),
  where: { op: 'where', inputs: { condition: 'frozen:T D', a: 'T D', b: 'T D' }, attrs: {} },
  'where by one number': { op: 'where', inputs: { condition: 'frozen:1', a: 'T D', b: 'T D' }, attrs: {} },
  pick: { op: 'pick', inputs: { x: 'K' }, attrs: { index: 1 } },
  linear_logprobs: {
    op: 'linear_logprobs',
    inputs: { x: 'T D', w: 'V D', targets: 'i32:T' },
    attrs: { compute: 'f32', chunk_rows: 4 },
  },
});

const gradientOf = (op: string, inputs: Record<string, string>, attrs: Attrs = {}): Case => ({
  op,
  inputs,
  attrs: { ...attrs, accumulate: 'never' },
});

/** The ops of plans that have no gradient of their own: gradients, optimizers, moves. */
export const otherCases = ({ H, K }: Sizes): Record<string, Case> => ({
  literal: { op: 'literal', inputs: {}, attrs: { values: [3], axes: 'T D' } },
  one_hot: { op: 'one_hot', inputs: { ids: 'i32:T' }, attrs: { axis: 'V' } },
  softmax_shift: { op: 'softmax_shift', inputs: { x: `T ${H} ${K}` }, attrs: {} },
  span_mask: { op: 'span_mask', inputs: { spans: 'i32:T 2' }, attrs: { axis: 'T' } },
  'reshape back': { op: 'reshape', inputs: { x: `T ${H} ${K}` }, attrs: { axes: 'T HK' } },
  'binary greater': { op: 'binary', inputs: { a: 'T D', b: 'T D' }, attrs: { fn: 'greater' } },
  fill: { op: 'fill', inputs: {}, attrs: { value: 3, axes: 'T D' } },
  random_uniform: { op: 'random_uniform', inputs: {}, attrs: { seed: 1, site: 2, bound: 3, axes: 'T D' } },
  random_normal: { op: 'random_normal', inputs: {}, attrs: { seed: 1, site: 2, std: 3, axes: 'T D' } },
  embedding_grad: gradientOf('embedding_grad', { dy: 'T D', ids: 'i32:T' }, { axes: 'V D' }),
  'matmul x·Wᵀ': matmulCase({ x: 'T D', w: 'F D' }, [product(false, true, 1)]),
  'matmul x·Wᵀ + residual': matmulCase(
    { x: 'T D', w: 'F D', residual: 'T F' },
    [product(false, true, 1)],
    false,
    true,
  ),
  rmsnorm_grad: gradientOf(
    'rmsnorm_grad',
    { dy: 'T D', x: 'T D', w: 'D', rstd: 'T' },
    { residual: false, dw: false },
  ),
  'rmsnorm_grad with dw and residual': gradientOf(
    'rmsnorm_grad',
    { dy: 'T D', x: 'T D', w: 'D', rstd: 'T', residual: 'T D' },
    { residual: true, dw: true },
  ),
  attention_grad: {
    op: 'attention_grad',
    inputs: { do: 'T HK', q: 'T HK', k: 'T GK', v: 'T GK', o: 'T HK', lse: `${H} T`, spans: 'i32:T 2' },
    attrs: { compute: 'f32', head_dim: K, scale: 0.8, causal: true, window: 0 },
  },
  ...Object.fromEntries(
    activationNames.flatMap((fn) => [
      [`glu_grad ${fn}`, { op: 'glu_grad', inputs: { dh: 'T F', gate: 'T F', up: 'T F' }, attrs: { fn } }],
      [`act_grad ${fn}`, { op: 'act_grad', inputs: { dy: 'T F', x: 'T F' }, attrs: { fn } }],
    ]),
  ),
  accumulate: gradientOf('accumulate', { x: 'T D' }),
  reduce_rows: gradientOf('reduce_rows', { x: 'T D' }),
  'cross_entropy with its gradient': gradientOf(
    'cross_entropy',
    { logits: 'T V', labels: 'i32:T', weight: '1' },
    { grad: true },
  ),
  'linear_cross_entropy with its gradients': gradientOf(
    'linear_cross_entropy',
    { x: 'T D', w: 'V D', labels: 'i32:T', weight: '1' },
    { compute: 'f32', dx: true, dw: true, chunk_rows: 4 },
  ),
  linear_logprobs_grad: gradientOf(
    'linear_logprobs_grad',
    { x: 'T D', w: 'V D', targets: 'i32:T', dlogprobs: 'T' },
    { compute: 'f32', dx: true, dw: true, chunk_rows: 4 },
  ),
  global_norm: { op: 'global_norm', inputs: { a: 'T D', b: 'F', c: 'V D' }, attrs: {} },
  adamw: {
    op: 'adamw',
    inputs: { p: 'F D', g: 'F D', norm: '1', max_norm: '1', adamw_scalars: '6' },
    attrs: { weight_decay: 0.1 },
  },
  sgd: {
    op: 'sgd',
    inputs: { p: 'F D', g: 'F D', norm: '1', max_norm: '1', sgd_scalars: '3' },
    attrs: { weight_decay: 0.1, momentum: false },
  },
  'sgd with momentum': {
    op: 'sgd',
    inputs: { p: 'F D', g: 'F D', norm: '1', max_norm: '1', sgd_scalars: '3' },
    attrs: { weight_decay: 0.1, momentum: true },
  },
  ...Object.fromEntries(
    ['upload', 'copy', 'download'].map((op) => [op, { op, inputs: { a: 'T D', b: 'V D' }, attrs: {} }]),
  ),
});

/** The inputs of a case as values of a graph: parameters where they are trainable. */
export const declareInputs = (g: GraphBuilder, { inputs }: Case): Value[] =>
  Object.entries(inputs).map(([name, spec]) => {
    const [kind, axes] = spec.includes(':') ? (spec.split(':') as [string, string]) : ['param', spec];
    if (kind === 'param') return g.param(name, 'f32', axes);
    return g.input(name, (kind === 'i32' ? 'i32' : 'f32') as DType, axes);
  });
