/**
 * global_norm, adamw (Loshchilov and Hutter 2019, as torch.optim.AdamW) and sgd (as torch.optim.SGD). They work on
 * state in place: parameter and moments are outputs as well as inputs. `hyper` is [lr, beta1, beta2, eps, bias1, bias2,
 * max_norm, momentum]; the gradient is scaled by min(1, max_norm ÷ (norm + 1e-6)) unless max_norm is 0.
 */
import { elements } from '../graph.js';
import type { Op, Tensor } from './op.js';
import { demand, flag, num } from './op.js';

/** global_norm: the Euclidean norm over all gradients, and that of each. */
export const globalNorm: Op = {
  name: 'global_norm',
  infer(inputs) {
    demand(inputs.length > 0, 'global_norm', inputs, 'at least one gradient');
    const placement = { kind: 'replicated' as const };
    return [
      { axes: ['1'], dtype: 'f32', placement },
      { axes: [String(inputs.length)], dtype: 'f32', placement },
    ];
  },
  flops: ({ inputs }) => inputs.reduce((sum, g) => sum + 2 * elements(g.shape), 0),
  evaluate(inputs) {
    const squares = inputs.map((g) => g.data.reduce((sum, x) => sum + x * x, 0));
    const total = squares.reduce((sum, x) => sum + x, 0);
    return [Float64Array.of(Math.sqrt(total)), Float64Array.from(squares, Math.sqrt)];
  },
};

function clip(norm: Tensor, hyper: Tensor): number {
  const maxNorm = hyper.data[6]!;
  return maxNorm === 0 ? 1 : Math.min(1, maxNorm / (norm.data[0]! + 1e-6));
}

/** adamw: inputs p, g, norm, hyper; outputs p, m, v, each read before it is written. */
export const adamw: Op = {
  name: 'adamw',
  infer(inputs) {
    const [p, g] = inputs;
    demand(inputs.length === 4 && p!.axes.join() === g!.axes.join(), 'adamw', inputs, 'p, g, norm, hyper');
    return [0, 1, 2].map(() => ({ axes: p!.axes, dtype: 'f32' as const, placement: p!.placement }));
  },
  flops: ({ inputs }) => 14 * elements(inputs[0]!.shape),
  evaluate([p, g, norm, hyper, m, v], attrs) {
    const [lr, beta1, beta2, eps, bias1, bias2] = hyper!.data as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const factor = clip(norm!, hyper!);
    const first = m!.data.map((old, i) => beta1 * old + (1 - beta1) * factor * g!.data[i]!);
    const second = v!.data.map((old, i) => beta2 * old + (1 - beta2) * (factor * g!.data[i]!) ** 2);
    const updated = p!.data.map((old, i) => {
      const decayed = old - lr * num(attrs, 'weight_decay') * old;
      return decayed - (lr * (first[i]! / bias1)) / (Math.sqrt(second[i]! / bias2) + eps);
    });
    return [updated, first, second];
  },
  readsOutputs: [1, 2],
  inPlace: [[0, 0]],
};

/** sgd: inputs p, g, norm, hyper; outputs p [, momentum, read before it is written]. hyper[5] is the step, from 1. */
export const sgd: Op = {
  name: 'sgd',
  infer(inputs, attrs) {
    const [p, g] = inputs;
    const count = flag(attrs, 'momentum') ? 2 : 1;
    demand(inputs.length === 4 && p!.axes.join() === g!.axes.join(), 'sgd', inputs, 'p, g, norm, hyper');
    return Array.from({ length: count }, () => ({
      axes: p!.axes,
      dtype: 'f32' as const,
      placement: p!.placement,
    }));
  },
  flops: ({ inputs }) => 6 * elements(inputs[0]!.shape),
  evaluate([p, g, norm, hyper, buffer], attrs) {
    const factor = clip(norm!, hyper!);
    const gradient = g!.data.map((x, i) => factor * x + num(attrs, 'weight_decay') * p!.data[i]!);
    const first = hyper!.data[5] === 1;
    const direction =
      buffer === undefined
        ? gradient
        : gradient.map((x, i) => (first ? x : hyper!.data[7]! * buffer.data[i]! + x));
    const updated = p!.data.map((old, i) => old - hyper!.data[0]! * direction[i]!);
    return buffer === undefined ? [updated] : [updated, direction];
  },
  readsOutputs: [1],
  inPlace: [[0, 0]],
};
