import {
  type Schedule,
  savesAfter,
  stepPosition,
  totalSteps,
  validatesAfter,
} from '../../../components/training/index.js';

const schedule: Schedule = {
  packs: 10,
  globalBatch: 4,
  microBatch: 3,
  epochs: 2,
  maxSteps: null,
  saveEvery: 2,
  validateEvery: null,
};

test('the last step of an epoch takes the packs that are left', () => {
  expect([1, 2, 3].map((step) => stepPosition(schedule, step).packs)).toEqual([4, 4, 2]);
});

test('every pack of an epoch is taken exactly once', () => {
  for (const packs of [1, 4, 5, 97]) {
    for (const globalBatch of [1, 3, 8]) {
      const variant = { ...schedule, packs, globalBatch, epochs: 1 };
      const packNumbers = Array.from({ length: totalSteps(variant) }, (_, i) =>
        stepPosition(variant, i + 1),
      ).flatMap((position) => Array.from({ length: position.packs }, (_, i) => position.cursor + i));
      expect(packNumbers).toEqual(Array.from({ length: packs }, (_, i) => i));
    }
  }
});

test('the second epoch starts at its first pack', () => {
  expect(stepPosition(schedule, 4)).toMatchObject({ epoch: 1, cursor: 0 });
});

test('the last step of max_steps also counts as the end of its epoch', () => {
  const shortSchedule = { ...schedule, maxSteps: 5 };
  expect(totalSteps(shortSchedule)).toBe(5);
  expect(stepPosition(shortSchedule, 5)).toMatchObject({ last: true, lastOfEpoch: true });
});

test('checkpoints are saved every N steps and at the end of each epoch', () => {
  expect([1, 2, 3, 4, 5, 6].filter((step) => savesAfter(schedule, stepPosition(schedule, step)))).toEqual([
    2, 3, 4, 6,
  ]);
});

test('without an interval, validation runs at the end of each epoch', () => {
  expect([1, 2, 3, 4, 5, 6].filter((step) => validatesAfter(schedule, stepPosition(schedule, step)))).toEqual(
    [3, 6],
  );
});
