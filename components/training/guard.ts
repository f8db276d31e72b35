import { NonFiniteError } from '../../shared/errors.js';

/**
 * Stops a run before a non-finite update reaches its weights.
 *
 * @param norms norm of each gradient, in the order of `names`
 * @throws NonFiniteError that names the step and the first tensors whose gradient is not finite
 */
export function guardFinite(
  step: number,
  loss: number,
  norm: number,
  norms: Float32Array,
  names: readonly string[],
): void {
  if (Number.isFinite(loss) && Number.isFinite(norm)) return;
  const badNames = names.filter((_, index) => !Number.isFinite(norms[index]));
  const firstNames = badNames.slice(0, 5).join(', ');
  const more = badNames.length > 5 ? ` and ${badNames.length - 5} more` : '';
  const where = badNames.length > 0 ? `; gradients not finite: ${firstNames}${more}` : '';
  throw new NonFiniteError(
    `step ${step} was stopped before its update: loss ${loss}, gradient norm ${norm}${where}. ` +
      'The last checkpoint is sound. Lower training.learning_rate, add warm-up, or set training.precision to fp32.',
  );
}
