import type { LrScheduler } from './learning_rate_schema.js';

/**
 * Returns the learning rate of optimizer step `step`, from 1 to `totalSteps`.
 *
 * Warm-up rises to `peak` at step `warmup_steps` (the first step is never zero). After it, with progress p from 0 to
 * 1 over what remains: linear 1 − p, cosine (1 + cos πp)/2 (Loshchilov & Hutter 2017), inverse_sqrt √(warmup/step)
 * (Vaswani et al. 2017), wsd constant and then linear over the last `decay_steps` (Hu et al. 2024, MiniCPM); each
 * scaled between `peak` and `min_lr`.
 */
export function learningRate(scheduler: LrScheduler, peak: number, step: number, totalSteps: number): number {
  const warmup = scheduler.warmup_steps;
  if (step <= warmup) return (peak * step) / warmup;
  if (scheduler.name === 'constant') return peak;
  const { min_lr: floor } = scheduler;
  const between = (fraction: number) => floor + (peak - floor) * Math.min(1, Math.max(0, fraction));
  const progress = (step - 1 - warmup) / Math.max(1, totalSteps - warmup);
  switch (scheduler.name) {
    case 'linear':
      return between(1 - progress);
    case 'cosine':
      return between((1 + Math.cos(Math.PI * Math.min(1, progress))) / 2);
    case 'inverse_sqrt':
      return Math.max(floor, peak * Math.sqrt(Math.max(1, warmup) / step));
    case 'wsd':
      return between((totalSteps - step + 1) / scheduler.decay_steps);
  }
}
