/**
 * kill -9 of the host while a run publishes: the run ends with the folders of one that nobody disturbed, and whoever looks
 * finds a whole folder or none.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import type { FinetuneResult } from '../../contracts/index.js';
import { Deployment } from '../support/deployment.js';
import { writeTinyModel } from '../support/tiny_model.js';
import { until } from '../support/until.js';
import { UploadHub } from '../support/upload_hub.js';

let deployment: Deployment;
let hub: UploadHub;
let undisturbed: FinetuneResult;

beforeAll(async () => {
  hub = await UploadHub.start();
  Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'hf_test' });
  deployment = await Deployment.start();
  // 24 MB of weights: publishing takes long enough to be met in the middle.
  const size = { vocabulary: 8192, hidden: 256, intermediate: 1024, layers: 4 };
  await writeTinyModel(path.join(deployment.folder, 'model'), size);
  undisturbed = await ending(await start('undisturbed', shelf('undisturbed')));
}, 240_000);
afterAll(async () => {
  await deployment.stop();
  await hub.close();
}, 60_000);

const exports = () => path.join(deployment.folder, 'cache', 'onnx');
const shelf = (name: string) => path.join(deployment.folder, 'shelf', name);
const ending = async (handle: WorkflowHandle) => (await handle.result()) as FinetuneResult;

/** One short epoch, then final/, onnx/ and both of them at `publishTo`. */
function start(name: string, publishTo: string): Promise<WorkflowHandle> {
  const { data, training } = deployment.recipe(name) as Record<string, object>;
  return deployment.run(name, {
    data: { ...data, train: { dataset_type: 'mock_packed', packs: 8 } },
    training: { ...training, num_epochs: 1 },
    export: { onnx: 'fp32', publish_to: publishTo },
  });
}

/** Digests by file, as the folder's manifest has them; checks that each file is there at its length. */
function digests(folder: string): Record<string, string> {
  const manifest = JSON.parse(readFileSync(path.join(folder, 'temper_manifest.json'), 'utf8')) as {
    files: Record<string, { bytes: number; sha256: string }>;
  };
  const files = Object.entries(manifest.files).filter(([name]) => name !== 'README.md');
  for (const [name, { bytes }] of files) expect(statSync(path.join(folder, name)).size).toBe(bytes);
  return Object.fromEntries(files.map(([name, { sha256 }]) => [name, sha256]));
}

const isUnfinished = (folder: string, pattern: RegExp) =>
  existsSync(folder) && readdirSync(folder).some((name) => pattern.test(name));

/** Looks until `done`: folders that are there are whole. */
async function look(folders: readonly string[], done: () => boolean): Promise<void> {
  await until('the publication', () => {
    for (const folder of folders) if (existsSync(folder)) digests(folder);
    return done();
  });
}

interface Moment {
  run: string;
  /** The folder in which something unfinished is seen then, and its name. */
  at(run: string): string;
  pattern: RegExp;
}

test.each<[string, Moment]>([
  ['the export', { run: 'export', at: () => exports(), pattern: /\.partial$/ }],
  ['onnx/', { run: 'onnx', at: (run) => run, pattern: /^\.onnx\..*\.unfinished$/ }],
  ['the publication', { run: 'union', at: () => shelf('.'), pattern: /^\.union\..*\.unfinished$/ }],
])(
  'killed while %s is written',
  async (_, { run: name, at, pattern }) => {
    // The export that the undisturbed run made is of the same weights.
    await rm(exports(), { recursive: true, force: true });
    const handle = await start(name, shelf(name));
    const run = path.join(deployment.folder, name);
    const folders = [path.join(run, 'final'), path.join(run, 'onnx'), shelf(name)];
    await look(folders, () => isUnfinished(at(run), pattern));
    await deployment.host.kill();
    expect(existsSync(shelf(name))).toBe(false);
    await deployment.restart('host');
    let ended = false;
    const result = ending(handle).finally(() => {
      ended = true;
    });
    await look(folders, () => ended);
    expect(await result).toMatchObject({ state: 'completed', published: shelf(name) });
    expect(digests(shelf(name))).toEqual(digests(undisturbed.published!));
    expect(readdirSync(shelf('.')).filter((entry) => entry.startsWith('.'))).toEqual([]);
  },
  120_000,
);

/** The child of a step's process that runs this program, once there is one. */
async function child(program: string): Promise<number> {
  for (;;) {
    const parents = deployment.children('step.js').join();
    // Fails where there is no child at all.
    const { stdout } = spawnSync('ps', ['-o', 'pid=,args=', '--ppid', parents], { encoding: 'utf8' });
    const line = stdout.split('\n').find((text) => text.includes(program));
    if (line !== undefined) return Number.parseInt(line, 10);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test.each(['probe_process.js', 'session_process.js'])(
  'kill -9 of %s, one of the two engines that are compared: they are compared again',
  async (program) => {
    const name = program.replace(/_.*/, '');
    const handle = await start(name, shelf(name));
    process.kill(await child(program), 'SIGKILL');
    expect(await ending(handle)).toMatchObject({ state: 'completed' });
    expect(digests(shelf(name))).toEqual(digests(undisturbed.published!));
  },
  120_000,
);

test('killed while it uploads: one commit, of the same files', async () => {
  let puts = 0;
  hub.intercept = (request) => request.method === 'PUT' && ++puts > 1;
  const handle = await start('uploading', 'hf://owner/uploading');
  await until('a file to arrive', () => hub.objects.size > 0);
  await deployment.host.kill();
  expect(Object.keys(hub.files('owner/uploading'))).toEqual(['.gitattributes']);
  hub.intercept = null;
  await deployment.restart('host');
  const result = await ending(handle);
  expect(result.published).toBe(`${hub.endpoint}/owner/uploading`);
  expect(hub.commits('owner/uploading')).toHaveLength(2);
  expect(new Set(hub.sent).size).toBe(hub.sent.length);
  const published = Object.keys(digests(undisturbed.published!));
  expect(Object.keys(hub.files('owner/uploading'))).toEqual(expect.arrayContaining(published));
}, 120_000);
