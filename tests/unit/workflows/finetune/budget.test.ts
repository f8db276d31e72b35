import { newBudget, pauseUncounted, spend } from '../../../../workflows/finetune/budget.js';

/** The pauses of `count` failures in a row, in seconds; null: the run does not survive that one. */
const pauses = (count: number, cause: 'storage' | 'service' | 'process', budget = newBudget()) =>
  Array.from({ length: count }, () => {
    const milliseconds = spend(budget, cause);
    return milliseconds === null ? null : milliseconds / 1000;
  });

test.each(['storage', 'process'] as const)('three failures of %s in a row are survived', (cause) => {
  expect(pauses(4, cause)).toEqual([1, 2, 4, null]);
});

test('ten failures of a service in a row are survived, a minute apart at most', () => {
  expect(pauses(11, 'service')).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60, 60, null]);
});

test('each cause has a budget of its own', () => {
  const budget = newBudget();
  expect(pauses(3, 'storage', budget)).not.toContain(null);
  expect(pauses(10, 'service', budget)).not.toContain(null);
  expect(pauses(3, 'process', budget)).toEqual([1, 2, 4]);
  expect([spend(budget, 'storage'), spend(budget, 'service'), spend(budget, 'process')]).toEqual([
    null,
    null,
    null,
  ]);
});

test('losses that nobody is to blame for never end a run, and take nothing from the budgets', () => {
  const budget = newBudget();
  const milliseconds = Array.from({ length: 100 }, () => pauseUncounted(budget));
  expect(milliseconds.slice(0, 4)).toEqual([0, 1000, 2000, 4000]);
  expect(Math.max(...milliseconds)).toBe(60_000);
  expect(pauses(3, 'process', budget)).toEqual([1, 2, 4]);
});
