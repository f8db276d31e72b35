/** A run that is interrupted and goes on is, bit for bit, the run that was not. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { EpochOutcome } from '../../contracts/index.js';
import { golden } from '../support/goldens.js';
import {
  committedTensors,
  openTrainer,
  prepareRun,
  readMetrics,
  type TrainingRun,
  trainToTheEnd,
} from '../support/training_run.js';

const lora = { type: 'lora', rank: 4, alpha: 8, dropout: 0.2, target_modules: 'all-linear' };
const kinds = [
  { name: 'full-fp32', training: { precision: 'fp32' } },
  { name: 'full-bf16-sgd', training: { precision: 'bf16', optimizer: { name: 'sgd', momentum: 0.9 } } },
  { name: 'lora-dropout-bf16', peft: lora, training: { precision: 'bf16' } },
];
/** Ten steps in two and a half epochs of four: the interruption lies within the second. */
const [steps, interruptedAt] = [10, 5];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-resume-'));
  process.env.TEMPER_CACHE = path.join(folder, 'cache');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(kinds)('$name', (kind) => {
  let straight: TrainingRun;
  let interrupted: TrainingRun;
  let outcomes: EpochOutcome[];
  beforeAll(async () => {
    straight = await prepare(kind, 'straight');
    await train(straight);
    interrupted = await prepare(kind, 'interrupted');
    await train(interrupted, interruptedAt);
    outcomes = await train(interrupted);
  });

  test('goes on from where it was, and says that it is exact', () => {
    expect(outcomes[0]!.resumed).toMatchObject({ fromStep: interruptedAt, exactness: 'bitwise' });
    expect(outcomes.at(-1)).toMatchObject({ kind: 'finished', step: steps });
  });

  test('ends in the same weights and moments', async () => {
    const [expected, found] = [await committedTensors(straight), await committedTensors(interrupted)];
    expect([...found.keys()]).toEqual([...expected.keys()]);
    const bits = (tensors: Map<string, Float32Array>) =>
      [...tensors].map(([name, { buffer }]) => [name, Buffer.from(buffer).toString('base64')]);
    expect(bits(found)).toEqual(bits(expected));
  });

  test('has the same losses and gradient norms, each step once', async () => {
    const curve = async (run: TrainingRun) =>
      (await readMetrics(run)).map(({ step, loss, grad_norm, val_loss }) => ({
        step,
        loss,
        grad_norm,
        val_loss,
      }));
    expect(await curve(interrupted)).toEqual(await curve(straight));
  });

  test('was trained by two generations', async () => {
    const generations = (await readMetrics(interrupted))
      .filter(({ loss }) => loss !== undefined)
      .map(({ generation }) => generation);
    expect(generations).toEqual(Array.from({ length: steps }, (_, index) => (index < interruptedAt ? 1 : 2)));
  });
});

function prepare({ name, training, ...rest }: (typeof kinds)[number], how: string): Promise<TrainingRun> {
  return prepareRun({
    name: `${name}-${how}`,
    ...rest,
    model: { name: golden('training', 'untied') },
    data: {
      train: { dataset_type: 'mock_packed', packs: 15, vocabulary_size: 64 },
      validation: { dataset_type: 'pretokenized', path: golden('training', 'documents.jsonl') },
      packed_sequence_size: 32,
      batch_size: { global: 4, micro: 2 },
    },
    training: { learning_rate: 5e-3, max_steps: steps, num_epochs: 5, ...training },
    evaluation: { every_steps: 3 },
    output_dir: path.join(folder, `${name}-${how}`),
  });
}

/** Trains in a process's worth of state of its own; told to make way once `until` steps are done. */
async function train(run: TrainingRun, until = Number.POSITIVE_INFINITY) {
  const trainer = await openTrainer(run, (step, running) => {
    if (step >= until) running.control('preempt');
  });
  try {
    return await trainToTheEnd(trainer);
  } finally {
    await trainer.close();
  }
}
