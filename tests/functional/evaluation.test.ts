/** Tests the tasks of a run in this process: what is stored, which checkpoint is chosen, what is refused. */
import { readdirSync, statSync } from 'node:fs';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { liveCheckpoints, readHistory, writeHistory } from '../../components/checkpoint/index.js';
import type { Evaluation } from '../../contracts/index.js';
import {
  consolidate,
  evaluate,
  evaluateEpoch,
  exportRun,
  type JobRunner,
  runEvaluationJob,
} from '../../recipes/index.js';
import { openStorage } from '../../shared/storage/index.js';
import { startS3Server } from '../support/s3_server.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTokenizedModel } from '../support/tokenized_model.js';
import {
  openTrainer,
  prepareRun,
  quietHooks,
  readMetrics,
  type TrainingRun,
  trainToTheEnd,
} from '../support/training_run.js';

const folder = temporaryFolder();
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const file = (name: string) => path.join(folder, name);

beforeAll(async () => {
  process.env.TEMPER_CACHE = file('cache');
  await writeTokenizedModel(file('model'));
  const words = ['teal', 'gray', 'blue', 'pink', 'gold'];
  const rows = Array.from({ length: 160 }, (_, index) => ({
    question: `Which one is number ${index}?`,
    answer: 'blue',
    choices: words,
    answerKey: index % 8 === 0 ? 1 : 2,
  }));
  await writeFile(file('rows.jsonl'), lines(rows));
  await writeFile(file('other.txt'), '? teal\n? gray\n? pink\n? gold\n');
  await writeFile(file('facts.jsonl'), lines([{ question: 'Facts?', answer: { a: 1 } }]));
});

const choices = {
  task: 'multiple_choice',
  name: 'colors',
  path: file('rows.jsonl'),
  limit: 40,
  prompt_template: '{question}',
  when: 'epoch',
};
const otherTask = {
  task: 'perplexity',
  name: 'other',
  path: file('other.txt'),
  documents: 'line',
  when: 'epoch',
};
const facts = { task: 'json_fields', name: 'facts', path: file('facts.jsonl'), max_new_tokens: 4 };

const recipe = (name: string, evaluation: object, more: object = {}) => ({
  name,
  model: { name: file('model') },
  peft: { type: 'lora', rank: 4, alpha: 8 },
  data: {
    train: {
      dataset_type: 'column_mapped',
      path: file('rows.jsonl'),
      columns: { question: 'question', answer: 'answer' },
      template: 'plain',
    },
    packed_sequence_size: 128,
    batch_size: { global: 2, micro: 1 },
  },
  training: { learning_rate: 0.01, num_epochs: 3, precision: 'fp32', ...more },
  checkpoint: { keep_last: 1 },
  evaluation,
  output_dir: file(name),
});

interface FinishedRun {
  run: TrainingRun;
  /** Scores after each epoch. */
  epochs: Record<string, number>[];
  evaluation: () => Promise<Evaluation>;
}

/** Takes a run through its steps as the workflow does, up to the last evaluation. */
async function trainWithTasks(
  name: string,
  evaluation: object,
  more: object = {},
  runner: JobRunner = runEvaluationJob,
): Promise<FinishedRun> {
  const run = await prepareRun({ ...recipe(name, evaluation), ...more });
  const trainer = await openTrainer(run);
  const epochs: Record<string, number>[] = [];
  for (let epoch = 0; ; epoch += 1) {
    const { kind, step } = await trainer.train(epoch);
    const isFinished = kind === 'finished';
    const input = { model: run.model, step, finished: isFinished };
    epochs.push((await evaluateEpoch(run.admitted.run, input, quietHooks, runner)).scores);
    if (isFinished) break;
  }
  await trainer.close();
  return { run, epochs, evaluation: () => evaluate(run.admitted.run, run, quietHooks, runner) };
}

/** Flips a bit of a trained tensor in a rank's file. */
async function flipTrained(rankFile: string): Promise<void> {
  const bytes = await readFile(rankFile);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString('utf8')) as Record<
    string,
    { data_offsets?: [number, number] }
  >;
  const trained = Object.entries(header).find(([name]) => /^[^:]+\.lora_B\.weight$/.test(name));
  bytes[8 + headerBytes + trained![1].data_offsets![0]]! ^= 1;
  await writeFile(rankFile, bytes);
}

const listParts = (name: string) =>
  readdirSync(file(`${name}/evaluation`), { recursive: true, encoding: 'utf8' })
    .filter((entry) => entry.includes('shard-'))
    .map((entry) => ({ entry, changed: statSync(file(`${name}/evaluation/${entry}`)).mtimeMs }))
    .sort((a, b) => (a.entry < b.entry ? -1 : 1));

describe('a run with tasks', () => {
  let finishedRun: FinishedRun;
  let evaluation: Evaluation;
  beforeAll(async () => {
    finishedRun = await trainWithTasks('walked', { tasks: [choices, facts] });
    evaluation = await finishedRun.evaluation();
  }, 120_000);

  test('has scores before and after training, with standard error and number of examples', () => {
    const { scores, after, before } = evaluation;
    expect(scores.after['colors/acc']).toEqual({
      value: after['colors/acc'],
      stderr: expect.any(Number),
      n: 40,
      direction: 'higher',
    });
    expect(before['facts/valid_json']).toBe(0);
    expect(scores.before['facts/valid_json']).toMatchObject({ n: 1, stderr: null });
  });

  test('has the same scores after its last epoch and for the model that is published', () => {
    expect(evaluation.after['colors/acc_norm']).toBe(finishedRun.epochs[2]!['colors/acc_norm']);
  });

  test('scores better after training than before', () => {
    expect(evaluation.after['colors/acc']).toBeGreaterThan(evaluation.before['colors/acc']!);
  });

  test('has a line in metrics.jsonl for each evaluated model, after the line of its step', async () => {
    const metrics = (await readMetrics(finishedRun.run)) as unknown as Record<string, number>[];
    const tasks = metrics.filter((line) => 'colors/acc' in line);
    const steps = metrics.length - tasks.length;
    expect(tasks.map(({ step }) => step)).toEqual([0, steps / 3, (2 * steps) / 3, steps]);
    expect(tasks[0]).toMatchObject({
      'colors/n': 40,
      'facts/n': 1,
      'colors/acc_stderr': expect.any(Number),
    });
    expect(metrics.map(({ step }) => step)).toEqual(metrics.map(({ step }) => step!).sort((a, b) => a - b));
  });

  test('keeps the answers of each step side by side', async () => {
    const text = await readFile(file('walked/samples/facts.jsonl'), 'utf8');
    const line = JSON.parse(text) as { prompt: string; reference: string; answers: Record<string, string> };
    expect(line).toMatchObject({ prompt: 'Facts?', reference: '{"a":1}' });
    expect(Object.keys(line.answers)).toEqual(['0', String(evaluation.step)]);
  });

  test('is evaluated a second time without computing anything, and the scores are the same', async () => {
    const partsBefore = listParts('walked');
    const never: JobRunner = () => Promise.reject(new Error('nothing is left to compute'));
    const { admitted } = finishedRun.run;
    expect(await evaluate(admitted.run, finishedRun.run, quietHooks, never)).toEqual(evaluation);
    expect(listParts('walked')).toEqual(partsBefore);
  });

  test('computes only the part again that was lost', async () => {
    const partsBefore = listParts('walked');
    const lostPart = partsBefore.find(
      ({ entry }) => entry.includes('colors') && entry.includes('shard-00001'),
    )!;
    await rm(file(`walked/evaluation/${lostPart.entry}`));
    expect(await finishedRun.evaluation()).toEqual(evaluation);
    const parts = listParts('walked');
    expect(parts.map(({ entry }) => entry)).toEqual(partsBefore.map(({ entry }) => entry));
    const changedParts = parts.filter(({ changed }, index) => changed !== partsBefore[index]!.changed);
    expect(changedParts.map(({ entry }) => entry)).toEqual([lostPart.entry]);
  });

  test('leaves no staged model behind', async () => {
    expect(await readdir(file('cache/staged'))).toEqual([]);
  });
});

test('the commit that scored best in a task is kept and published, however old it is', async () => {
  const { run, evaluation } = await trainWithTasks('best', {
    tasks: [otherTask],
    load_best: true,
    metric: 'other/token_perplexity',
  });
  // The more it learns to say blue, the less likely is any other color.
  const storage = await openStorage(run.admitted.run.outputDir, { roots: null });
  const { entries, keep } = await readHistory(storage);
  const value = (entry: (typeof entries)[number]) => entry.scores['other/token_perplexity']!.value;
  const sorted = entries.toSorted((a, b) => value(a) - value(b));
  expect(sorted[0]!.step).toBeLessThan(entries.at(-1)!.step);
  expect(keep).toEqual([sorted[0]!.step]);
  const live = new Set<number>();
  for await (const { entry } of liveCheckpoints(storage)) live.add(entry!.trainer.step);
  expect(live.has(sorted[0]!.step)).toBe(true);
  expect((await evaluation()).step).toBe(sorted[0]!.step);
}, 120_000);

describe('a run whose newest checkpoint was damaged', () => {
  const never: JobRunner = () => Promise.reject(new Error('no damaged checkpoint is evaluated'));
  const rankFile = (name: string, step: number) =>
    file(`${name}/g1/step-${String(step).padStart(8, '0')}/rank-00000-of-00001.safetensors`);
  const namedDamage = (damagedFile: string) => [
    expect.stringMatching(
      new RegExp(`^${damagedFile}: tensor '.+', block 0: .*CRC-32C.* \\(commit \\d+\\)$`),
    ),
  ];
  let run: TrainingRun;
  let steps: number[];
  beforeAll(async () => {
    run = await prepareRun({
      ...recipe('intact', { tasks: [choices] }),
      checkpoint: { every_steps: null, keep_last: 3 },
    });
    const trainer = await openTrainer(run);
    steps = (await trainToTheEnd(trainer)).map(({ step }) => step);
    await trainer.close();
  }, 120_000);

  /** Copies the run, so that each test damages its own. */
  async function copy(name: string): Promise<TrainingRun> {
    await cp(file('intact'), file(name), { recursive: true });
    const { admitted } = run;
    return {
      ...run,
      admitted: { ...admitted, run: { ...admitted.run, outputDir: `file://${file(name)}` } },
    };
  }

  test('evaluates the one before it, and names file and tensor', async () => {
    const { admitted, model, data } = await copy('passed-over');
    const damagedFile = rankFile('passed-over', steps[2]!);
    await flipTrained(damagedFile);
    const evaluation = await evaluate(admitted.run, { model, data }, quietHooks);
    expect(evaluation.step).toBe(steps[1]);
    expect(evaluation.damage).toEqual(namedDamage(damagedFile));
    expect(await consolidate(admitted.run, { model, data, evaluation }, quietHooks)).toMatchObject({
      model: file('passed-over/final'),
    });
  }, 120_000);

  test('has no scores of that epoch, and names file and tensor', async () => {
    const { admitted, model } = await copy('unscored');
    const damagedFile = rankFile('unscored', steps[2]!);
    await flipTrained(damagedFile);
    const input = { model, step: steps[2]!, finished: true };
    expect(await evaluateEpoch(admitted.run, input, quietHooks, never)).toEqual({
      scores: {},
      stop: null,
      damage: namedDamage(damagedFile),
    });
  });

  test('exports the one before it, and names file and tensor', async () => {
    await copy('exported');
    const damagedFile = rankFile('exported', steps[2]!);
    await flipTrained(damagedFile);
    const options = { merge: false, onnx: null, step: null } as const;
    const exported = await exportRun(
      { outputDir: file('exported'), output: file('by-hand'), ...options },
      quietHooks,
    );
    expect(exported).toMatchObject({ step: steps[1], damage: namedDamage(damagedFile) });
  });
});

test('a damaged commit that would have been judged the best is named', async () => {
  const { run, evaluation } = await trainWithTasks('best-damaged', {
    tasks: [otherTask],
    load_best: true,
    metric: 'other/token_perplexity',
  });
  const storage = await openStorage(run.admitted.run.outputDir, { roots: null });
  const [step] = (await readHistory(storage)).keep;
  const damagedFile = file(
    `best-damaged/g1/step-${String(step).padStart(8, '0')}/rank-00000-of-00001.safetensors`,
  );
  await flipTrained(damagedFile);
  const { step: chosenStep, damage } = await evaluation();
  expect(chosenStep).not.toBe(step);
  expect(damage).toEqual([expect.stringContaining(`${damagedFile}: tensor '`)]);
}, 120_000);

test('a run on S3 keeps its results, scores and samples there', async () => {
  const s3 = await startS3Server(['runs']);
  Object.assign(process.env, s3.env);
  try {
    const { run, evaluation } = await trainWithTasks(
      'remote',
      { tasks: [choices, facts] },
      { output_dir: 's3://runs/remote' },
    );
    const { scores, step } = await evaluation();
    const storage = await openStorage(run.admitted.run.outputDir, { roots: null });
    expect(storage.folder).toBeNull();
    const metrics = (await readMetrics(run)) as unknown as Record<string, number>[];
    const lastLine = metrics.at(-1)!;
    expect(lastLine).toMatchObject({ step, 'colors/acc': scores.after['colors/acc']!.value });
    expect(metrics.filter((line) => 'colors/acc' in line)).toHaveLength(4);
    const sample = JSON.parse((await storage.read('samples/facts.jsonl')).toString('utf8')) as {
      answers: object;
    };
    expect(Object.keys(sample.answers)).toEqual(['0', String(step)]);
  } finally {
    await s3.stop();
  }
}, 120_000);

test('tasks evaluate the model with the config overrides of the recipe', async () => {
  const model = { name: file('model'), config_overrides: { rms_norm_eps: 0.5 } };
  const { evaluation } = await trainWithTasks('overridden', { tasks: [otherTask] }, { model });
  const { before } = await evaluation();
  const plain = await trainWithTasks('plain', { tasks: [otherTask] });
  const unchanged = (await plain.evaluation()).before;
  expect(before['other/token_perplexity']).not.toBe(unchanged['other/token_perplexity']);
}, 120_000);

test('early stopping can watch a metric of a task', async () => {
  const rule = { metric: 'colors/acc', patience: 1, min_delta: 1 };
  const run = await prepareRun(recipe('stopping', { tasks: [choices] }, { early_stopping: rule }));
  const trainer = await openTrainer(run);
  const stops: (string | null)[] = [];
  for (let epoch = 0; epoch < 2; epoch += 1) {
    const { step } = await trainer.train(epoch);
    const input = { model: run.model, step, finished: false };
    stops.push((await evaluateEpoch(run.admitted.run, input, quietHooks)).stop);
  }
  await trainer.close();
  expect(stops).toEqual([null, 'no improvement of colors/acc in 1 evaluations']);
}, 120_000);

test('a model below a required minimum is not published, and the message says how to export it anyway', async () => {
  const { run, evaluation } = await trainWithTasks('required', {
    tasks: [choices],
    require: { 'colors/acc': { min: 1.5 }, 'colors/acc_norm': { max: 1 } },
  });
  const error = (await evaluation().catch((thrown: unknown) => thrown)) as Error & { code: string };
  expect(error.code).toBe('RequirementNotMet');
  expect(error.message).toMatch(
    /colors\/acc is 0\.875 and must be at least 1\.5\. .*temper export .*required --step \d+ --output FOLDER/,
  );
  const storage = await openStorage(run.admitted.run.outputDir, { roots: null });
  expect((await readHistory(storage)).entries.some(({ step }) => step === 0)).toBe(true);
}, 120_000);

test('a task whose data is missing fails the run before anything is trained', async () => {
  const taskWithoutData = { ...choices, path: file('nowhere.jsonl') };
  await expect(prepareRun(recipe('missing', { tasks: [taskWithoutData] }))).rejects.toThrow(
    `${file('nowhere.jsonl')}: there is no such file`,
  );
});

test('a damaged evaluation history is an error that says what to do', async () => {
  const storage = await openStorage(file('history'), { roots: null });
  await writeHistory(storage, { version: 1, entries: [], keep: [3] });
  expect((await readHistory(storage)).keep).toEqual([3]);
  await storage.write('evaluation/history.json', Buffer.from('{"version":1'));
  await expect(readHistory(storage)).rejects.toThrow('delete it, and scores are rebuilt');
});
