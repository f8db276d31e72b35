import { arenaBudget, arenaDoesNotFit, doesNotFit } from '../../../recipes/llm/train/memory.js';

const memory = {
  frozen: 269_030_000,
  trained: 19_537_920,
  gradients: 19_537_920,
  optimizer: 39_075_840,
  constants: 1_048_576,
  arena: 23_969_398_784,
  arenaLowerBound: 23_000_000_000,
  activationsPerLayer: 9_000_000,
  total: 24_317_629_040,
};

test('an arena that does not fit is refused, with sizes in gigabytes and the largest part first', () => {
  expect(arenaDoesNotFit(memory, 17_084_188_431.36)).toBe(
    'with every layer recomputed the run needs 24.38 GB of memory, of which the arena (activations) may take 17.08 GB ' +
      'on this host: arena 23.97 GB, weights 0.27 GB, snapshot 0.06 GB, optimizer 0.04 GB. ' +
      'Lower data.batch_size.micro or data.packed_sequence_size, or train an adapter (peft) instead of all weights.',
  );
});

test('a run whose forecast exceeds the host’s memory is refused, with the largest part first', () => {
  const parts = {
    weights: 5e9,
    trained: 0,
    gradients: 0,
    optimizer: 0,
    arena: 3e9,
    workspace: 1e9,
    snapshot: 0,
  };
  expect(doesNotFit({ ...parts, total: 9e9 }, 8e9)).toContain(
    'needs 9.00 GB of memory, and 8.00 GB is available on this host: weights 5.00 GB, arena 3.00 GB, workspace 1.00 GB',
  );
});

test('activations may use the memory that tensors and a checkpoint’s copy leave, less a tenth for scratch', () => {
  const tensorBytes = { frozen: 100, trained: 10, gradient: 10, statistic: 0, constant: 5 };
  expect(arenaBudget({ ...tensorBytes, optimizer: 20 }, 1000)).toBeCloseTo(0.9 * (1000 - 145 - 30), 9);
  // An optimizer without state leaves the memory of its tensors and their copies.
  expect(arenaBudget({ ...tensorBytes, optimizer: 0 }, 1000)).toBeCloseTo(0.9 * (1000 - 125 - 10), 9);
  expect(arenaBudget({ ...tensorBytes, optimizer: 20 }, 100)).toBe(0);
});
