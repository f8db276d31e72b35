/** Tests what a worker learns about the processes that compute its steps, with real ones. */
import { hostname } from 'node:os';
import path from 'node:path';
import { digestOf } from '../../shared/digest.js';
import { defineConfig } from '../../shared/installation.js';
import { StepProcesses } from '../../workers/processes/step_processes.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTinyModel } from '../support/tiny_model.js';

const folder = temporaryFolder();
const quiet = { progress: () => {}, signal: new AbortController().signal };
const bounds = { admit: { memory: 2 ** 29, seconds: 20 } };
let steps: StepProcesses;

beforeAll(async () => {
  process.env.TEMPER_CONFIG = path.resolve(import.meta.dirname, '../durability/support/hostile_config.js');
  process.env.TEMPER_CACHE = path.join(folder, 'cache');
  await writeTinyModel(path.join(folder, 'model'));
  steps = new StepProcesses(defineConfig({ worker: { bounds } }), 'cpu:0');
});
afterAll(() => steps.close());

/** Returns a request whose recipe does something when it is validated. */
const request = (reading: string) => ({
  input: {
    name: 'hostile',
    model: { name: path.join(folder, 'model') },
    data: { train: { dataset_type: 'hostile', reading }, packed_sequence_size: 64 },
    output_dir: path.join(folder, reading),
  },
  info: { workflowId: 'hostile', runId: 'one', namespace: 'default', roots: null, server: null },
});

test('a crash of a step is a ProcessCrashed with step, input, end and host', async () => {
  await expect(steps.run('admit', request('abort'), quiet)).rejects.toMatchObject({
    code: 'ProcessCrashed',
    details: {
      version: 1,
      step: 'admit',
      input: digestOf(request('abort')),
      ended: expect.stringMatching(/^killed by SIGABRT/),
      host: hostname(),
    },
  });
}, 60_000);

test('the next two steps after a crash are computed', async () => {
  for (const _ of [1, 2]) {
    const admitted = await steps.run('admit', request('nothing'), quiet);
    expect(admitted).toMatchObject({ run: { id: 'hostile' }, completed: null });
  }
}, 60_000);

test('a typed error of a step arrives as the same error', async () => {
  const { input, info } = request('nothing');
  const attempt = steps.run('admit', { input: { ...input, seed: 'one' }, info }, quiet);
  await expect(attempt).rejects.toMatchObject({ code: 'InvalidRecipe', problems: [{ key: 'seed' }] });
}, 60_000);

test('a step that is cancelled in an endless loop is killed', async () => {
  const abort = new AbortController();
  const reason = new Error('the run was cancelled');
  setTimeout(() => abort.abort(reason), 1000);
  const attempt = steps.run('admit', request('loop'), { ...quiet, signal: abort.signal });
  await expect(attempt).rejects.toBe(reason);
}, 60_000);
