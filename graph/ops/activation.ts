/**
 * The activation functions: what the attribute `fn` of `glu` and `act` may name. A new one is an entry here and one in
 * native/ops/activation.hpp.
 */
import { GraphError } from '../ir/error.js';
import type { Attrs, Value } from '../ir/graph.js';
import type { OnnxTarget } from '../onnx/target.js';
import { times } from './arithmetic.js';
import { erfc } from './erf.js';
import type { Emit } from './op.js';
import { text } from './op.js';

export interface Activation {
  readonly value: (x: number) => number;
  readonly derivative: (x: number) => number;
  /** Appends primitives and returns values whose product is the function of x. */
  readonly factors: (emit: Emit, x: Value) => Value[];
  /** Appends ONNX nodes and returns the name of their result. */
  readonly onnx: (to: OnnxTarget, x: string) => string;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
/** The distribution function of the standard normal distribution. */
const normalCdf = (x: number): number => erfc(-x / Math.SQRT2) / 2;
const normalDensity = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

/** ½(1 + tanh z) is σ(2z), with 2z = x · (tanhSlope + tanhCubic · x²). */
const tanhSlope = 2 * Math.sqrt(2 / Math.PI);
const tanhCubic = 0.044715 * tanhSlope;
const tanhArgument = (x: number): number => x * (tanhSlope + tanhCubic * x * x);

/** CLIP's constant. */
const quickSlope = 1.702;

/** The derivative of x · σ(z) where z has the derivative `slope`. */
function gatedDerivative(x: number, z: number, slope: number): number {
  const s = sigmoid(z);
  return s + x * s * (1 - s) * slope;
}

const unary = (emit: Emit, fn: string, x: Value): Value => emit('unary', [x], { fn })[0]!;
const scale = (emit: Emit, x: Value, alpha: number): Value => emit('scale', [x], { alpha })[0]!;
const shift = (emit: Emit, x: Value, by: number): Value => emit('shift', [x], { by })[0]!;

/** x · σ(z) in ONNX. */
const gated = (to: OnnxTarget, x: string, z: string): string => to.node('Mul', [x, to.node('Sigmoid', [z])]);

const activations: Readonly<Record<string, Activation>> = {
  /** x · σ(x) (Elfwing et al. 2017). */
  silu: {
    value: (x) => x * sigmoid(x),
    derivative: (x) => gatedDerivative(x, x, 1),
    factors: (emit, x) => [x, unary(emit, 'sigmoid', x)],
    onnx: (to, x) => gated(to, x, x),
  },
  /** x · Φ(x) (Hendrycks and Gimpel 2016). */
  gelu: {
    value: (x) => x * normalCdf(x),
    derivative: (x) => normalCdf(x) + x * normalDensity(x),
    factors(emit, x) {
      const error = unary(emit, 'erf', scale(emit, x, Math.SQRT1_2));
      return [x, shift(emit, scale(emit, error, 0.5), 0.5)];
    },
    onnx: (to, x) => to.node('Gelu', [x]),
  },
  /** GELU with ½(1 + tanh √(2/π)(x + 0.044715 x³)) for Φ(x): `gelu_new`, `gelu_pytorch_tanh`. */
  gelu_tanh: {
    value: (x) => x * sigmoid(tanhArgument(x)),
    derivative: (x) => gatedDerivative(x, tanhArgument(x), tanhSlope + 3 * tanhCubic * x * x),
    factors(emit, x) {
      const slope = shift(emit, scale(emit, times(emit, [x, x]), tanhCubic), tanhSlope);
      return [x, unary(emit, 'sigmoid', times(emit, [x, slope]))];
    },
    onnx: (to, x) => to.node('Gelu', [x], { attrs: { approximate: { s: 'tanh' } } }),
  },
  /** x · σ(1.702 x), as CLIP approximates GELU. */
  quick_gelu: {
    value: (x) => x * sigmoid(quickSlope * x),
    derivative: (x) => gatedDerivative(x, quickSlope * x, quickSlope),
    factors: (emit, x) => [x, unary(emit, 'sigmoid', scale(emit, x, quickSlope))],
    onnx: (to, x) => gated(to, x, to.node('Mul', [x, to.scalar(quickSlope)])),
  },
  /** max(x, 0)² (So et al. 2021). */
  relu2: {
    value: (x) => Math.max(x, 0) ** 2,
    derivative: (x) => 2 * Math.max(x, 0),
    factors(emit, x) {
      const [zero] = emit('literal', [], { axes: '1', values: [0] });
      const [positive] = emit('binary', [x, zero!], { fn: 'maximum' });
      return [positive!, positive!];
    },
    onnx(to, x) {
      const positive = to.node('Relu', [x]);
      return to.node('Mul', [positive, positive]);
    },
  },
};

export const activationNames: readonly string[] = Object.keys(activations);

/** Returns the function that a node's `fn` names. @throws GraphError where there is none of that name */
export function activationOf(op: string, attrs: Attrs): Activation {
  const fn = text(attrs, 'fn');
  if (!Object.hasOwn(activations, fn))
    throw new GraphError(`${op}: fn is '${fn}'; it must be one of ${activationNames.join(', ')}`);
  return activations[fn]!;
}
