import { type LrScheduler, learningRate, lrSchedulerSchema } from '../../../components/optim/index.js';

const rates = (scheduler: LrScheduler, total: number) =>
  Array.from({ length: total }, (_, index) => learningRate(scheduler, 1, index + 1, total));

test('warm-up rises linearly to the peak and its first step is not zero', () => {
  const scheduler: LrScheduler = { name: 'constant', warmup_steps: 4 };
  expect(rates(scheduler, 6)).toEqual([0.25, 0.5, 0.75, 1, 1, 1]);
});

test('a constant schedule without warm-up is constant', () => {
  expect(rates({ name: 'constant', warmup_steps: 0 }, 3)).toEqual([1, 1, 1]);
});

test('linear starts at the peak and loses an equal share at each step', () => {
  expect(rates({ name: 'linear', warmup_steps: 0, min_lr: 0 }, 4)).toEqual([1, 0.75, 0.5, 0.25]);
});

test('cosine is half-way between peak and floor at half of what follows the warm-up', () => {
  const scheduler: LrScheduler = { name: 'cosine', warmup_steps: 2, min_lr: 0.2 };
  expect(learningRate(scheduler, 1, 3, 12)).toBeCloseTo(1, 12);
  expect(learningRate(scheduler, 1, 8, 12)).toBeCloseTo(0.6, 12);
});

test('inverse square root falls with one over the root of the step, down to the floor', () => {
  const scheduler: LrScheduler = { name: 'inverse_sqrt', warmup_steps: 4, min_lr: 0.3 };
  expect(learningRate(scheduler, 1, 16, 1000)).toBeCloseTo(0.5, 12);
  expect(learningRate(scheduler, 1, 400, 1000)).toBe(0.3);
});

test('wsd is constant until its decay and then linear to the floor', () => {
  const scheduler: LrScheduler = { name: 'wsd', warmup_steps: 0, min_lr: 0, decay_steps: 4 };
  expect(rates(scheduler, 8)).toEqual([1, 1, 1, 1, 1, 0.75, 0.5, 0.25]);
});

test('a step past the planned end keeps the floor', () => {
  const scheduler: LrScheduler = { name: 'cosine', warmup_steps: 0, min_lr: 0.1 };
  expect(learningRate(scheduler, 1, 99, 10)).toBeCloseTo(0.1, 12);
});

test('an unknown schedule is refused', () => {
  expect(lrSchedulerSchema.safeParse({ name: 'cosin' }).success).toBe(false);
});
