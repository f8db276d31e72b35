/** Tests what a worker learns of the processes that compute its steps, with real ones. */
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

/** A recipe whose validation does something. */
const request = (reading: string) => ({
  input: {
    name: 'hostile',
    model: { name: path.join(folder, 'model') },
    data: { train: { dataset_type: 'hostile', reading }, packed_sequence_size: 64 },
    output_dir: path.join(folder, reading),
  },
  info: { workflowId: 'hostile', runId: 'one', namespace: 'default', roots: null, server: null },
});

test('a crash is a ProcessCrashed with step, input, end and host', async () => {
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

test('after a crash the next step is computed, and the one after it', async () => {
  for (const _ of [1, 2]) {
    const admitted = await steps.run('admit', request('nothing'), quiet);
    expect(admitted).toMatchObject({ run: { id: 'hostile' }, completed: null });
  }
}, 60_000);

test('a typed error of the step arrives as itself', async () => {
  const { input, info } = request('nothing');
  const failed = steps.run('admit', { input: { ...input, seed: 'one' }, info }, quiet);
  await expect(failed).rejects.toMatchObject({ code: 'InvalidRecipe', problems: [{ key: 'seed' }] });
}, 60_000);

test('a step that is cancelled in a loop without end is ended', async () => {
  const abort = new AbortController();
  const reason = new Error('the run was cancelled');
  setTimeout(() => abort.abort(reason), 1000);
  const cancelled = steps.run('admit', request('loop'), { ...quiet, signal: abort.signal });
  await expect(cancelled).rejects.toBe(reason);
}, 60_000);
