/**
 * matmul: y = Σᵢ alphaᵢ · op(aᵢ) · op(bᵢ) [+ bias] [+ residual]. Inputs a₀, b₀, a₁, b₁, … then bias, then residual.
 * op(a) is M×K, `a` itself [K, M] when trans_a; op(b) is K×N, `b` itself [N, K] when trans_b.
 */

import type { Attrs, Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import { dtypeBytes } from '../ir/plan.js';
import { toBf16 } from '../ir/round.js';
import type { Op, OpCall, Tensor } from './op.js';
import { demand, flag, text, zeros } from './op.js';
import { flagged, many, one } from './operands.js';
import { signatures } from './signatures.js';

export interface Product<V> {
  readonly a: V;
  readonly b: V;
  readonly transA: boolean;
  readonly transB: boolean;
  readonly alpha: number;
}

export interface MatmulParts<V> {
  readonly products: readonly Product<V>[];
  readonly bias: V | null;
  readonly residual: V | null;
}

/** Sorts a matmul's inputs into its products, bias and residual. */
export function matmulParts<V>(inputs: readonly V[], attrs: Attrs): MatmulParts<V> {
  const transA = attrs.trans_a as boolean[];
  const transB = attrs.trans_b as boolean[];
  const alpha = attrs.alpha as number[];
  const products = alpha.map((factor, i) => ({
    a: inputs[2 * i]!,
    b: inputs[2 * i + 1]!,
    transA: transA[i]!,
    transB: transB[i]!,
    alpha: factor,
  }));
  let next = 2 * alpha.length;
  const bias = flag(attrs, 'bias') ? inputs[next++]! : null;
  const residual = flag(attrs, 'residual') ? inputs[next++]! : null;
  return { products, bias, residual };
}

/** The inputs and attributes of a matmul with these parts. */
export function matmulCall<V>(parts: MatmulParts<V>, compute: string): { inputs: V[]; attrs: Attrs } {
  const { products, bias, residual } = parts;
  const inputs = products.flatMap((product) => [product.a, product.b]);
  if (bias !== null) inputs.push(bias);
  if (residual !== null) inputs.push(residual);
  const attrs = {
    compute,
    trans_a: products.map((product) => product.transA),
    trans_b: products.map((product) => product.transB),
    alpha: products.map((product) => product.alpha),
    bias: bias !== null,
    residual: residual !== null,
    accumulate: 'never',
  };
  return { inputs, attrs };
}

const rowAxis = (p: Product<Value>): number => (p.transA ? 1 : 0);
const columnAxis = (p: Product<Value>): number => (p.transB ? 0 : 1);

function inferMatmul(inputs: readonly Value[], attrs: Attrs) {
  const { products, bias, residual } = matmulParts(inputs, attrs);
  const count = 2 * products.length + (bias === null ? 0 : 1) + (residual === null ? 0 : 1);
  demand(
    products.length > 0 && inputs.length === count,
    'matmul',
    inputs,
    `${count} inputs, a pair for each product`,
  );
  let rows = '';
  let columns = '';
  products.forEach((p, i) => {
    demand(p.a.axes.length === 2 && p.b.axes.length === 2, 'matmul', inputs, 'matrices');
    const inner = [p.a.axes[1 - rowAxis(p)]!, p.b.axes[1 - columnAxis(p)]!];
    demand(
      inner[0] === inner[1],
      'matmul',
      inputs,
      `product ${i} to contract the same axis, not ${inner.join(' with ')}`,
    );
    const outer = [p.a.axes[rowAxis(p)]!, p.b.axes[columnAxis(p)]!];
    if (i === 0) [rows, columns] = [outer[0]!, outer[1]!];
    demand(
      outer[0] === rows && outer[1] === columns,
      'matmul',
      inputs,
      `product ${i} to be [${rows} ${columns}] as the first`,
    );
  });
  if (bias !== null)
    demand(bias.axes.length === 1 && bias.axes[0] === columns, 'matmul', inputs, `a bias [${columns}]`);
  if (residual !== null) {
    demand(
      residual.axes.join(' ') === `${rows} ${columns}`,
      'matmul',
      inputs,
      `a residual [${rows} ${columns}]`,
    );
  }
  return [{ axes: [rows, columns], dtype: 'f32' as const }];
}

/** Gradients of one product's factors, each a product itself: no transpose is ever materialized. */
function factorGradients(p: Product<Value>, dy: Value): { da: Product<Value>; db: Product<Value> } {
  const da = p.transA
    ? { a: p.b, b: dy, transA: p.transB, transB: true, alpha: p.alpha }
    : { a: dy, b: p.b, transA: false, transB: !p.transB, alpha: p.alpha };
  const db = p.transB
    ? { a: dy, b: p.a, transA: true, transB: p.transA, alpha: p.alpha }
    : { a: p.a, b: dy, transA: !p.transA, transB: false, alpha: p.alpha };
  return { da, db };
}

export const matmul: Op = {
  name: 'matmul',
  operands: { inputs: [...many('a', 'b'), flagged('bias'), flagged('residual')], outputs: one('y') },
  attributes: {
    compute: 'text',
    trans_a: 'flags',
    trans_b: 'flags',
    alpha: 'numbers',
    bias: 'flag',
    residual: 'flag',
    accumulate: 'text',
  },
  infer: inferMatmul,
  // With op(a) M×K and op(b) K×N, rows come from a, columns from b, and a contraction over shards leaves summands. To those a
  // bias would be added once for each rank.
  signatures: signatures(
    'R R R R -> R',
    'S0 R R S0 -> S0',
    'R S1 S0 S1 -> S1',
    'S1 S0 - P -> P',
    'P R - P -> P',
    'R P - P -> P',
  ),
  transposed(attrs) {
    const [transA, transB] = [attrs.trans_a as boolean[], attrs.trans_b as boolean[]];
    return transA.flatMap((turned, i) => [turned, transB[i]!]);
  },
  flops({ inputs, outputs, attrs }: OpCall) {
    const { products, bias, residual } = matmulParts(inputs, attrs);
    const size = elements(outputs[0]!.shape);
    const inner = products.reduce((sum, p) => sum + p.a.shape[1 - rowAxis(p)]!, 0);
    return 2 * size * inner + (bias === null ? 0 : size) + (residual === null ? 0 : size);
  },
  vjp(emit, { inputs, attrs }, [dy], needs) {
    const { products, bias, residual } = matmulParts(inputs, attrs);
    const grads: (Value | null)[] = [];
    const multiply = (product: Product<Value>, like: Value) => {
      const call = matmulCall({ products: [product], bias: null, residual: null }, String(attrs.compute));
      // A parameter's gradient is float32; an activation's has the activation's dtype.
      const dtype = like.kind === 'param' ? 'f32' : like.dtype;
      return emit('matmul', call.inputs, call.attrs, { dtypes: [dtype] })[0]!;
    };
    products.forEach((product, i) => {
      const { da, db } = factorGradients(product, dy!);
      grads.push(
        needs[2 * i] ? multiply(da, product.a) : null,
        needs[2 * i + 1] ? multiply(db, product.b) : null,
      );
    });
    if (bias !== null)
      grads.push(needs[grads.length] ? emit('reduce_rows', [dy!], { accumulate: 'never' })[0]! : null);
    if (residual !== null) grads.push(needs[grads.length] ? dy! : null);
    return grads;
  },
  evaluate(inputs, attrs, [shape], mode) {
    const { products, bias, residual } = matmulParts(inputs, attrs);
    const [rows, columns] = shape as [number, number];
    const y = residual === null ? zeros(shape!) : residual.data.slice();
    if (bias !== null) for (let i = 0; i < y.length; i++) y[i]! += bias.data[i % columns]!;
    const rounded = mode.roundFactors && attrs.compute === 'bf16';
    for (const product of products) addProduct(y, rows, columns, product, rounded);
    return [y];
  },
  bytes: ({ inputs, outputs, attrs }) =>
    [...inputs, ...outputs].reduce((sum, v) => sum + elements(v.shape) * dtypeBytes[v.dtype], 0) +
    (attrs.accumulate === 'never' ? 0 : elements(outputs[0]!.shape) * 4),
  accumulates: () => [0],
  computes: true,
  inPlace: [{ output: 0, input: -1, when: 'residual' }],
  withResidual({ inputs, attrs }, residual) {
    const parts = matmulParts(inputs, attrs);
    return parts.residual === null ? matmulCall({ ...parts, residual }, text(attrs, 'compute')) : null;
  },
  withSum(a, b) {
    const [first, second] = [matmulParts(a.inputs, a.attrs), matmulParts(b.inputs, b.attrs)];
    const both =
      (first.bias !== null && second.bias !== null) || (first.residual !== null && second.residual !== null);
    if (both || a.attrs.compute !== b.attrs.compute) return null;
    const parts = {
      products: [...first.products, ...second.products],
      bias: first.bias ?? second.bias,
      residual: first.residual ?? second.residual,
    };
    return matmulCall(parts, text(a.attrs, 'compute'));
  },
  // Gemm reads a [N, K] weight as it is in the file, and ONNX Runtime packs it when the model is loaded.
  onnx(to, inputs, { attrs }) {
    const { products, bias, residual } = matmulParts(inputs, attrs);
    let sum = bias;
    for (const { a, b, transA, transB, alpha } of products) {
      const options = { transA: { i: Number(transA) }, transB: { i: Number(transB) }, alpha: { f: alpha } };
      sum = to.node('Gemm', sum === null ? [a, b] : [a, b, sum], { attrs: options });
    }
    return [residual === null ? sum : to.node('Add', [sum, residual])];
  },
};

function addProduct(
  y: Float64Array,
  rows: number,
  columns: number,
  p: Product<Tensor>,
  rounded: boolean,
): void {
  const a = rounded ? p.a.data.map(toBf16) : p.a.data;
  const b = rounded ? p.b.data.map(toBf16) : p.b.data;
  const inner = p.a.shape[p.transA ? 0 : 1]!;
  const [aRow, aInner] = p.transA ? [1, rows] : [inner, 1];
  const [bInner, bColumn] = p.transB ? [1, inner] : [columns, 1];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a[i * aRow + k * aInner]! * b[k * bInner + j * bColumn]!;
      y[i * columns + j]! += p.alpha * sum;
    }
  }
}

/** reduce_rows: y[n] = Σ_t x[t, n], the gradient of a bias. */
export const reduceRows: Op = {
  name: 'reduce_rows',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: { accumulate: 'text' },
  signatures: signatures('R -> R', 'S0 -> P', 'S1 -> S0', 'P -> P'),
  infer(inputs) {
    const [x] = inputs;
    demand(inputs.length === 1 && x!.axes.length === 2, 'reduce_rows', inputs, 'one input [T, N]');
    return [{ axes: [x!.axes[1]!], dtype: 'f32' }];
  },
  flops: ({ inputs }) => elements(inputs[0]!.shape),
  evaluate([x], _attrs, [shape]) {
    const y = zeros(shape!);
    x!.data.forEach((value, i) => {
      y[i % y.length]! += value;
    });
    return [y];
  },
  accumulates: () => [0],
};
