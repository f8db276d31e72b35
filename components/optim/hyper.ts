import type { Optimizer } from './schema.js';

/** The optimiser records' per-step input, in the order that docs/plan-format.md gives. */
export function hyper(
  optimizer: Optimizer,
  step: number,
  learningRate: number,
  maxNorm: number,
): Float32Array {
  if (optimizer.name === 'sgd') {
    const { momentum } = optimizer;
    return Float32Array.of(learningRate, 0, 0, 0, 1 - momentum ** step, step, maxNorm, momentum);
  }
  const [beta1, beta2] = optimizer.betas;
  return Float32Array.of(
    learningRate,
    beta1,
    beta2,
    optimizer.eps,
    1 - beta1 ** step,
    1 - beta2 ** step,
    maxNorm,
    0,
  );
}
