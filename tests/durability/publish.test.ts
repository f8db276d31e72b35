/**
 * SIGKILL of the host while a run publishes: the run ends with the folders of an undisturbed one, and a reader finds a
 * whole folder or none at any time.
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
  // 24 MB of weights: publishing takes long enough to be killed in the middle.
  const size = { vocabulary: 8192, hidden: 256, intermediate: 1024, layers: 4 };
  await writeTinyModel(path.join(deployment.folder, 'model'), size);
  undisturbed = await awaitResult(await start('undisturbed', publishFolder('undisturbed')));
}, 240_000);
afterAll(async () => {
  await deployment.stop();
  await hub.close();
}, 60_000);

const exportsFolder = () => path.join(deployment.folder, 'cache', 'onnx');
const publishFolder = (name: string) => path.join(deployment.folder, 'published', name);
const awaitResult = async (handle: WorkflowHandle) => (await handle.result()) as FinetuneResult;

/** Starts a run of one short epoch, which then writes final/, onnx/ and both of them at `publishTo`. */
function start(name: string, publishTo: string): Promise<WorkflowHandle> {
  const { data, training } = deployment.recipe(name) as Record<string, object>;
  return deployment.run(name, {
    data: { ...data, train: { dataset_type: 'mock_packed', packs: 8 } },
    training: { ...training, num_epochs: 1 },
    export: { onnx: 'fp32', publish_to: publishTo },
  });
}

/** Returns the digests by file from the folder's manifest, and checks that each file has its length. */
function readDigests(folder: string): Record<string, string> {
  const manifest = JSON.parse(readFileSync(path.join(folder, 'temper_manifest.json'), 'utf8')) as {
    files: Record<string, { bytes: number; sha256: string }>;
  };
  const files = Object.entries(manifest.files).filter(([name]) => name !== 'README.md');
  for (const [name, { bytes }] of files) expect(statSync(path.join(folder, name)).size).toBe(bytes);
  return Object.fromEntries(files.map(([name, { sha256 }]) => [name, sha256]));
}

const isUnfinished = (folder: string, pattern: RegExp) =>
  existsSync(folder) && readdirSync(folder).some((name) => pattern.test(name));

/** Checks until `done` that the folders that exist are whole. */
async function checkUntil(folders: readonly string[], done: () => boolean): Promise<void> {
  await until('the publication', () => {
    for (const folder of folders) if (existsSync(folder)) readDigests(folder);
    return done();
  });
}

interface Moment {
  run: string;
  /** Returns the folder that holds something unfinished then; `pattern` matches its name. */
  folder(run: string): string;
  pattern: RegExp;
}

test.each<[string, Moment]>([
  ['the export', { run: 'export', folder: () => exportsFolder(), pattern: /\.partial$/ }],
  ['onnx/', { run: 'onnx', folder: (run) => run, pattern: /^\.onnx\..*\.unfinished$/ }],
  [
    'the publication',
    { run: 'union', folder: () => publishFolder('.'), pattern: /^\.union\..*\.unfinished$/ },
  ],
])(
  'a host killed while it writes %s leaves no part, and the run publishes the same files',
  async (_, { run: name, folder, pattern }) => {
    // The export that the undisturbed run made has the same weights.
    await rm(exportsFolder(), { recursive: true, force: true });
    const handle = await start(name, publishFolder(name));
    const run = path.join(deployment.folder, name);
    const folders = [path.join(run, 'final'), path.join(run, 'onnx'), publishFolder(name)];
    await checkUntil(folders, () => isUnfinished(folder(run), pattern));
    await deployment.host.kill();
    expect(existsSync(publishFolder(name))).toBe(false);
    await deployment.restart('host');
    let hasEnded = false;
    const result = awaitResult(handle).finally(() => {
      hasEnded = true;
    });
    await checkUntil(folders, () => hasEnded);
    expect(await result).toMatchObject({ state: 'completed', published: publishFolder(name) });
    expect(readDigests(publishFolder(name))).toEqual(readDigests(undisturbed.published!));
    expect(readdirSync(publishFolder('.')).filter((entry) => entry.startsWith('.'))).toEqual([]);
  },
  120_000,
);

/** Waits for the child of a step's process that runs this program; returns its process id. */
async function waitForChild(program: string): Promise<number> {
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
  'when %s, one of the two engines that are compared, is killed, they are compared again',
  async (program) => {
    const name = program.replace(/_.*/, '');
    const handle = await start(name, publishFolder(name));
    process.kill(await waitForChild(program), 'SIGKILL');
    expect(await awaitResult(handle)).toMatchObject({ state: 'completed' });
    expect(readDigests(publishFolder(name))).toEqual(readDigests(undisturbed.published!));
  },
  120_000,
);

test('a host killed while it uploads makes one commit, of the same files', async () => {
  let puts = 0;
  hub.intercept = (request) => request.method === 'PUT' && ++puts > 1;
  const handle = await start('uploading', 'hf://owner/uploading');
  await until('a file to arrive', () => hub.objects.size > 0);
  await deployment.host.kill();
  expect(Object.keys(hub.files('owner/uploading'))).toEqual(['.gitattributes']);
  hub.intercept = null;
  await deployment.restart('host');
  const result = await awaitResult(handle);
  expect(result.published).toBe(`${hub.endpoint}/owner/uploading`);
  expect(hub.commits('owner/uploading')).toHaveLength(2);
  expect(new Set(hub.sent).size).toBe(hub.sent.length);
  const publishedNames = Object.keys(readDigests(undisturbed.published!));
  expect(Object.keys(hub.files('owner/uploading'))).toEqual(expect.arrayContaining(publishedNames));
}, 120_000);
