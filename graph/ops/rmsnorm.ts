/**
 * rmsnorm (Zhang and Sennrich 2019): rstd = 1/√(mean(x²) + eps), y = x · rstd · w. Outputs y and rstd.
 * Backward, g = dy · w: dx = rstd · (g − x · rstd² · mean(g · x)), dw = Σ_t dy · x · rstd.
 */
import { elements } from '../ir/graph.js';
import type { Op } from './op.js';
import { demand, flag, num, zeros } from './op.js';
import { flagged, one } from './operands.js';
import { signatures } from './signatures.js';

export const rmsnorm: Op = {
  name: 'rmsnorm',
  operands: { inputs: one('x', 'w'), outputs: one('y', 'rstd') },
  attributes: { eps: 'number' },
  signatures: signatures('R R -> R R', 'S0 R -> S0 S0'),
  infer(inputs) {
    const [x, w] = inputs;
    demand(
      inputs.length === 2 && x!.axes.length === 2 && w!.axes.length === 1 && w!.axes[0] === x!.axes[1],
      'rmsnorm',
      inputs,
      'x [T, D] and w [D]',
    );
    return [
      { axes: x!.axes, dtype: 'f32' },
      { axes: [x!.axes[0]!], dtype: 'f32' },
    ];
  },
  flops: ({ inputs }) => 4 * elements(inputs[0]!.shape),
  vjp(emit, { inputs, outputs }, [dy], needs) {
    const [x, w] = inputs;
    const dw = needs[1]!;
    const call = [dy!, x!, w!, outputs[1]!];
    const [dx, dweight] = emit(
      'rmsnorm_grad',
      call,
      { residual: false, dw, accumulate: 'never' },
      { dtypes: dw ? [x!.dtype, 'f32'] : [x!.dtype] },
    );
    return [needs[0] ? dx! : null, dw ? dweight! : null];
  },
  evaluate([x, w], attrs, [shape]) {
    const [rows, width] = shape as [number, number];
    const y = zeros(shape!);
    const rstd = new Float64Array(rows);
    for (let t = 0; t < rows; t++) {
      let squares = 0;
      for (let j = 0; j < width; j++) squares += x!.data[t * width + j]! ** 2;
      rstd[t] = 1 / Math.sqrt(squares / width + num(attrs, 'eps'));
      for (let j = 0; j < width; j++) y[t * width + j] = x!.data[t * width + j]! * rstd[t]! * w!.data[j]!;
    }
    return [y, rstd];
  },
  float32: [1],
  cheap: true,
  fallback(emit, [x, w], attrs) {
    const [squares] = emit('einsum', [x!, x!], { spec: 'td,td->t' });
    const [mean] = emit('scale', [squares!], { alpha: 1 / x!.shape[1]! });
    const [meanPlusEps] = emit('shift', [mean!], { by: attrs.eps! });
    const [rstd] = emit('unary', [meanPlusEps!], { fn: 'rsqrt' });
    const [y] = emit('einsum', [x!, rstd!, w!], { spec: 'td,t,d->td' });
    return [y!, rstd!];
  },
  onnx(to, inputs, { attrs }) {
    const options = { axis: { i: -1 }, epsilon: { f: num(attrs, 'eps') } };
    return [to.node('RMSNormalization', inputs, { attrs: options }), null];
  },
};

export const rmsnormGrad: Op = {
  name: 'rmsnorm_grad',
  operands: {
    inputs: [...one('dy', 'x', 'w', 'rstd'), flagged('residual')],
    outputs: [...one('dx'), flagged('dw')],
  },
  attributes: { residual: 'flag', dw: 'flag', accumulate: 'text' },
  signatures: signatures('R R R R R -> R R', 'S0 S0 R S0 S0 -> S0 P'),
  infer(inputs, attrs) {
    const [dy, x, w, rstd, residual] = inputs;
    const rows = flag(attrs, 'residual') ? [dy!, x!, rstd!, residual!] : [dy!, x!, rstd!];
    demand(
      inputs.length === rows.length + 1,
      'rmsnorm_grad',
      inputs,
      'dy, x, w, rstd and a residual where attrs.residual says so',
    );
    demand(
      dy!.axes.join() === x!.axes.join() && w!.axes[0] === x!.axes[1],
      'rmsnorm_grad',
      inputs,
      'dy and x [T, D], w [D]',
    );
    const dx = { axes: x!.axes, dtype: 'f32' as const };
    const dw = { axes: w!.axes, dtype: 'f32' as const };
    return flag(attrs, 'dw') ? [dx, dw] : [dx];
  },
  flops: ({ inputs, attrs }) => (flag(attrs, 'dw') ? 10 : 8) * elements(inputs[0]!.shape),
  evaluate([dy, x, w, rstd, residual], attrs, shapes) {
    const [rows, width] = shapes[0] as [number, number];
    const dx = residual === undefined ? zeros(shapes[0]!) : residual.data.slice();
    const dw = new Float64Array(width);
    for (let t = 0; t < rows; t++) {
      const r = rstd!.data[t]!;
      let mean = 0;
      for (let j = 0; j < width; j++)
        mean += (dy!.data[t * width + j]! * w!.data[j]! * x!.data[t * width + j]!) / width;
      for (let j = 0; j < width; j++) {
        const i = t * width + j;
        dx[i]! += r * (dy!.data[i]! * w!.data[j]! - x!.data[i]! * r * r * mean);
        dw[j]! += dy!.data[i]! * x!.data[i]! * r;
      }
    }
    return flag(attrs, 'dw') ? [dx, dw] : [dx];
  },
  accumulates: () => [1],
  inPlace: [{ output: 0, input: -1, when: 'residual' }],
  withResidual: ({ inputs, attrs }, residual) =>
    flag(attrs, 'residual') ? null : { inputs: [...inputs, residual], attrs: { ...attrs, residual: true } },
};
