import { hyper } from '../../../components/optim/index.js';

test('AdamW gets its bias corrections for the step', () => {
  const values = hyper(
    { name: 'adamw', betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0, no_decay: [] },
    2,
    0.5,
    1,
  );
  const expected = [0.5, 0.9, 0.99, 1e-8, 1 - 0.81, 1 - 0.9801, 1, 0];
  for (const [index, value] of expected.entries()) expect(values[index]).toBeCloseTo(value, 6);
});

test('SGD with momentum knows its first step', () => {
  const values = hyper({ name: 'sgd', momentum: 0.9, weight_decay: 0, no_decay: [] }, 1, 0.5, 0);
  expect([...values]).toEqual([0.5, 0, 0, 0, Math.fround(0.1), 1, 0, Math.fround(0.9)]);
});
