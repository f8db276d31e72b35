import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { jest } from '@jest/globals';
import { z } from 'zod';
import { LoggerFeed, registerLogger } from '../../../components/loggers/index.js';
import type { MetricsLine, StepMetrics } from '../../../contracts/index.js';
import { openStorage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { until } from '../../support/until.js';

const folder = temporaryFolder();

function step(number: number, loss = 1): StepMetrics {
  return {
    step: number,
    epoch: 0.5,
    loss,
    grad_norm: 1,
    lr: 0.1,
    mem: 1,
    tps: 1,
    tps_per_device: 1,
    num_tokens_per_step: 8,
    num_label_tokens: 4,
    timestamp: 0,
    generation: 1,
  };
}
const validation = (number: number) => ({ step: number, val_loss: 2, timestamp: 0, generation: 1 });
const tasks = (number: number) => ({ step: number, 'facts/acc': 0.5, timestamp: 0 });

/** The calls of the logger `memory`, and its behavior. */
const calls: string[] = [];
let opening = async () => {};
let flush = async () => {};
registerLogger({
  name: 'memory',
  schema: z.strictObject({ name: z.literal('memory') }),
  open: async (_, { id, isNew }) => {
    await opening();
    calls.push(`open ${id}${isNew ? ' new' : ''}`);
    return {
      step: (metrics) => void calls.push(`step ${metrics.step}`),
      validation: (metrics) => void calls.push(`validation ${metrics.step}`),
      tasks: (metrics) => void calls.push(`tasks ${metrics.step}`),
      flush: () => flush(),
      close: async () => void calls.push('close'),
    };
  },
});

const failures: string[] = [];
/** What metrics.jsonl has. */
let written: MetricsLine[] = [];
async function openFeed(run: string, name: string): Promise<LoggerFeed> {
  const storage = await openStorage(`${folder}/${run}`, { roots: null });
  return new LoggerFeed({
    loggers: [{ name }],
    run: { name: run, id: run, recipe: {}, storage },
    readMetrics: async () => written,
    onFailure: (message) => failures.push(message),
  });
}

const readCsv = async (run: string) =>
  (await (await openStorage(`${folder}/${run}`, { roots: null })).read('metrics.csv')).toString('utf8');

beforeEach(() => {
  calls.length = 0;
  failures.length = 0;
  written = [];
  opening = async () => {};
  flush = async () => {};
});
afterEach(() => jest.useRealTimers());

test('a process that continues a feed delivers the lines that the one before has not', async () => {
  const feedBefore = await openFeed('continued', 'memory');
  await feedBefore.deliver([step(1), validation(0), step(2)]);
  // This process is killed: it closes nothing.
  const feed = await openFeed('continued', 'memory');
  await feed.deliver([validation(0), step(1), step(2), step(3), validation(3), tasks(0)]);
  await feed.deliver([tasks(0), tasks(3), step(3)]);
  await feed.close();
  expect(calls).toEqual([
    'open continued new',
    ...['step 1', 'validation 0', 'step 2'],
    'open continued',
    ...['step 3', 'validation 3', 'tasks 0', 'tasks 3', 'close'],
  ]);
});

test('a logger that fails gets the other lines later, and a warning gives the reason', async () => {
  const feed = await openFeed('failing', 'memory');
  flush = () => Promise.reject(new Error('no route to host'));
  await feed.deliver([step(1)]);
  flush = async () => {};
  await feed.deliver([step(2)]);
  expect(failures).toEqual(["logger 'memory': no route to host"]);
  expect(calls).toEqual(['open failing new', 'step 1', 'step 2']);
});

test('lines that a logger has not flushed are delivered again in the next process', async () => {
  flush = () => Promise.reject(new Error('the disk is full'));
  await (await openFeed('full', 'memory')).deliver([step(1)]);
  flush = async () => {};
  await (await openFeed('full', 'memory')).deliver([step(1)]);
  expect(calls).toEqual(['open full new', 'step 1', 'open full new', 'step 1']);
});

test('a logger that failed gets what it has missed from metrics.jsonl, as far as it is committed', async () => {
  const feed = await openFeed('missed', 'memory');
  opening = () => Promise.reject(new Error('no route to host'));
  await feed.deliver([step(1), validation(1)]);
  await feed.deliver([step(2)]);
  opening = async () => {};
  written = [step(1), validation(1), tasks(1), step(2), step(3), validation(3), step(4)];
  await feed.deliver([step(3)]);
  expect(calls).toEqual(['open missed new', 'step 1', 'validation 1', 'step 2', 'step 3']);
  await feed.deliver([validation(3), step(4)]);
  expect(calls.slice(5)).toEqual(['validation 3', 'step 4']);
});

test('no metrics are kept in memory for a logger that fails', async () => {
  const feed = await openFeed('forgotten', 'memory');
  opening = () => Promise.reject(new Error('no route to host'));
  const kept = await (async () => {
    const metrics = step(1);
    await feed.deliver([metrics]);
    return new WeakRef(metrics);
  })();
  await feed.deliver([step(2)]);
  setFlagsFromString('--expose-gc');
  // A reference that was looked at is held until the next turn of the event loop.
  await new Promise((resolve) => setImmediate(resolve));
  runInNewContext('gc')();
  expect(kept.deref()).toBeUndefined();
});

test('a logger that hangs holds up nothing for longer than its time, says so once, and takes the rest when it answers', async () => {
  const feed = await openFeed('hanging', 'memory');
  let answer = () => {};
  const flushing = new Promise<void>((called) => {
    flush = () => {
      called();
      return new Promise((resolve) => {
        answer = resolve;
      });
    };
  });
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'performance'] });
  const delivery = feed.deliver([step(1)]);
  await flushing;
  jest.advanceTimersByTime(30_000);
  await delivery;
  await feed.deliver([step(2)]);
  expect(failures).toEqual([
    "logger 'memory': it has not answered for 30 s; the run goes on without it until it does",
  ]);
  expect(calls).toEqual(['open hanging new', 'step 1']);

  jest.useRealTimers();
  flush = async () => {};
  answer();
  written = [step(1), step(2), step(3)];
  await until('the logger to take the rest', async () => {
    await feed.deliver([step(3)]);
    return calls.includes('step 3');
  });
  expect(calls.slice(2)).toEqual(['step 2', 'step 3']);
  expect(failures).toHaveLength(1);
});

test('the csv logger writes a row for each step, with its validation and tasks', async () => {
  await (await openFeed('table', 'csv')).deliver([step(1, 3), validation(0), step(2, 2.5)]);
  await (await openFeed('table', 'csv')).deliver([validation(2), tasks(2)]);
  const [head, ...rows] = (await readCsv('table')).trim().split('\n');
  const columns = head!.split(',');
  const cell = (row: number, column: string) => rows[row]!.split(',')[columns.indexOf(column)];
  expect(rows).toHaveLength(3);
  expect(
    rows.map((_, row) => ['step', 'loss', 'val_loss', 'facts/acc'].map((name) => cell(row, name))),
  ).toEqual([
    ['0', '', '2', ''],
    ['1', '3', '', ''],
    ['2', '2.5', '2', '0.5'],
  ]);
});

test('the csv logger writes a step once that is delivered twice', async () => {
  const storage = await openStorage(`${folder}/twice`, { roots: null });
  await (await openFeed('twice', 'csv')).deliver([step(1), step(2)]);
  const note = JSON.parse((await storage.read('loggers/csv.json')).toString('utf8'));
  // As if the process had been killed before it noted step 2.
  await storage.write('loggers/csv.json', Buffer.from(JSON.stringify({ ...note, step: 1 })));
  await (await openFeed('twice', 'csv')).deliver([step(1), step(2), step(3)]);
  const steps = (await readCsv('twice')).trim().split('\n').slice(1);
  expect(steps.map((row) => row.split(',')[0])).toEqual(['1', '2', '3']);
});
