/** A run that is interrupted and resumed is, bit for bit, the run that was not. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { newestSound } from '../../components/checkpoint/index.js';
import { type EpochOutcome, noRequests } from '../../contracts/index.js';
import { takeGeneration } from '../../recipes/index.js';
import { openStorage } from '../../shared/storage/index.js';
import { golden } from '../support/goldens.js';
import {
  openTrainer,
  prepareRun,
  readCommittedTensors,
  readMetrics,
  type TrainingRun,
  trainToTheEnd,
} from '../support/training_run.js';

const lora = { type: 'lora', rank: 4, alpha: 8, dropout: 0.2, target_modules: 'all-linear' };
/** `moments`: how many tensors the optimizer keeps for each trained one. */
const kinds = [
  { name: 'full-fp32', moments: 2, training: { precision: 'fp32' } },
  {
    name: 'full-bf16-sgd',
    moments: 1,
    training: { precision: 'bf16', optimizer: { name: 'sgd', momentum: 0.9 } },
  },
  { name: 'lora-dropout-bf16', moments: 2, peft: lora, training: { precision: 'bf16' } },
];
/** Ten steps in two and a half epochs of four: the interruption is within the second. */
const [steps, interruptedAt] = [10, 5];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-resume-'));
  process.env.TEMPER_CACHE = path.join(folder, 'cache');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(kinds)('an interrupted run of $name', (kind) => {
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

  test('resumes from its last step, and says that this is exact', () => {
    expect(outcomes[0]!.resumed).toMatchObject({ fromStep: interruptedAt, exactness: 'bitwise' });
    expect(outcomes.at(-1)).toMatchObject({ kind: 'finished', step: steps });
  });

  test('ends with the same weights and moments', async () => {
    const [expected, actual] = [
      await readCommittedTensors(straight),
      await readCommittedTensors(interrupted),
    ];
    expect([...actual.keys()]).toEqual([...expected.keys()]);
    const bits = (tensors: Map<string, Float32Array>) =>
      [...tensors].map(([name, { buffer }]) => [name, Buffer.from(buffer).toString('base64')]);
    expect(bits(actual)).toEqual(bits(expected));
  });

  test('records for each tensor whether it is trained or belongs to the optimizer', async () => {
    const storage = await openStorage(straight.admitted.run.outputDir, { roots: null });
    const tensors = Object.values((await newestSound(storage)).entry!.tensors);
    const sizes = (role: string) =>
      tensors.filter((tensor) => tensor.role === role).map(({ shape }) => shape.join());
    const trainedSizes = sizes('trained');
    expect(trainedSizes).not.toEqual([]);
    expect(sizes('optimizer').sort()).toEqual(Array(kind.moments).fill(trainedSizes).flat().sort());
  });

  test('has the same losses and gradient norms in its metrics, each step once', async () => {
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

test('a resume with another number of threads is exact, and says so', async () => {
  const [oneThread, changedThreads] = [
    await prepare(kinds[0]!, 'one-thread'),
    await prepare(kinds[0]!, 'changed-threads'),
  ];
  await withThreads(1, () => train(oneThread));
  await withThreads(1, () => train(changedThreads, interruptedAt));
  const [outcome] = await withThreads(3, () => train(changedThreads));
  expect(outcome!.resumed).toMatchObject({ fromStep: interruptedAt, exactness: 'bitwise' });
  expect(await readCommittedTensors(changedThreads)).toEqual(await readCommittedTensors(oneThread));
});

test('a resume that passes over a damaged checkpoint reports its file, tensor and block', async () => {
  const run = await prepare(kinds[0]!, 'damaged', { checkpoint: { every_steps: 2, keep_last: 2 } });
  await train(run, interruptedAt);
  const newest = path.join(run.admitted.run.outputDir, 'g1/step-00000005/rank-00000-of-00001.safetensors');
  const bytes = await readFile(newest);
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(newest, bytes);
  const [outcome] = await train(run);
  expect(outcome!.resumed).toMatchObject({ fromStep: 4, stepsLost: 1, exactness: 'bitwise' });
  expect(outcome!.resumed!.damage).toEqual([
    expect.stringMatching(/step-00000005\/rank-00000-of-00001\.safetensors: tensor '.+', block 0: .*CRC-32C/),
  ]);
});

test.each([false, true])(
  'a rank whose run was taken over stops long before its next commit (paused: %s)',
  async (paused) => {
    // A commit comes at the end of an epoch, of which this run has one.
    const steps = 5_000;
    const run = await prepare(kinds[0]!, `taken-over-${paused}`, {
      data: {
        train: { dataset_type: 'mock_packed', packs: steps, vocabulary_size: 64 },
        packed_sequence_size: 32,
        batch_size: { global: 1, micro: 1 },
      },
      training: { precision: 'fp32', max_steps: null, num_epochs: 1 },
      evaluation: {},
    });
    const { setInterval: realSetInterval } = globalThis;
    // Half a minute passes in 30 ms.
    globalThis.setInterval = ((callback: () => void, ms: number) =>
      realSetInterval(callback, ms / 1000)) as never;
    let lastStep = 0;
    const trainer = await openTrainer(run, (step, running) => {
      lastStep = step;
      if (step !== 3) return;
      if (paused) running.apply({ ...noRequests, number: 1, paused: true });
      void takeGeneration(run.admitted.run, { holder: 'other', worldSize: 1 });
    }).finally(() => {
      globalThis.setInterval = realSetInterval;
    });
    await expect(trainToTheEnd(trainer)).rejects.toThrow(/generation 2 has taken over this run/);
    expect(lastStep).toBeLessThan(steps);
    await trainer.close();
  },
);

test('a run that was started with version 1 of the commit log resumes in the same log', async () => {
  const run = await prepareRun({
    name: 'version-1',
    peft: { type: 'lora', rank: 2, alpha: 4, target_modules: ['*.q_proj'] },
    model: { name: golden('training', 'untied') },
    data: {
      train: { dataset_type: 'mock_packed', packs: 15, vocabulary_size: 64 },
      packed_sequence_size: 32,
      batch_size: { global: 4, micro: 2 },
    },
    training: { precision: 'fp32', learning_rate: 5e-3, max_steps: 8, num_epochs: 5 },
    checkpoint: { every_steps: 2, keep_last: 1 },
    output_dir: path.join(folder, 'version-1'),
  });
  const version1 = path.resolve(import.meta.dirname, '../../../tests/unit/checkpoint/goldens/version_1');
  await cp(version1, run.admitted.run.outputDir, { recursive: true });
  const outcomes = await train(run);
  expect(outcomes[0]!.resumed).toMatchObject({ fromStep: 6, damage: [] });
  expect(outcomes.at(-1)).toMatchObject({ kind: 'finished', step: 8 });
  const lines = await readMetrics(run);
  expect(lines.map(({ step, generation }) => [step, generation])).toEqual([
    ...[1, 2, 3, 4].map((step) => [step, 1]),
    ...[5, 6].map((step) => [step, 2]),
    ...[7, 8].map((step) => [step, 3]),
  ]);
  expect((await readCommittedTensors(run)).size).toBe(12);
});

function prepare(
  { name, training, moments: _, ...rest }: (typeof kinds)[number],
  variant: string,
  more: Record<string, unknown> = {},
): Promise<TrainingRun> {
  return prepareRun({
    name: `${name}-${variant}`,
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
    output_dir: path.join(folder, `${name}-${variant}`),
    ...more,
  });
}

async function withThreads<T>(threads: number, work: () => Promise<T>): Promise<T> {
  const threadsBefore = process.env.TEMPER_THREADS;
  process.env.TEMPER_THREADS = String(threads);
  try {
    return await work();
  } finally {
    if (threadsBefore === undefined) delete process.env.TEMPER_THREADS;
    else process.env.TEMPER_THREADS = threadsBefore;
  }
}

/** Trains with a new trainer, as a new process would; preempts it once `until` steps are done. */
async function train(run: TrainingRun, until = Number.POSITIVE_INFINITY) {
  const trainer = await openTrainer(run, (step, control) => {
    if (step >= until) control.preempt();
  });
  try {
    return await trainToTheEnd(trainer);
  } finally {
    await trainer.close();
  }
}
