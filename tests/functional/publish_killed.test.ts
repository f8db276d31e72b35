/** SIGKILL of a process that publishes: no reader ever sees a part, and the next process continues and finishes it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { publishModel, readPublication } from '../../components/publication/index.js';
import { openStorage, type Storage } from '../../shared/storage/index.js';
import { type S3Server, startS3Server } from '../support/s3_server.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { until } from '../support/until.js';
import { UploadHub } from '../support/upload_hub.js';

const folder = temporaryFolder();
const program = path.join(import.meta.dirname, 'support', 'publish_child.js');
const weightFiles = Array.from({ length: 8 }, (_, i) => `model-0000${i + 1}-of-00008.safetensors`);
const names = [...weightFiles, 'config.json', 'genai_config.json', 'onnx/model.onnx'].sort();

let s3: S3Server;
let hub: UploadHub;

beforeAll(async () => {
  s3 = await startS3Server(['bucket']);
  hub = await UploadHub.start();
  Object.assign(process.env, s3.env, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'hf_test' });
  const home = await openStorage(folder, { roots: null });
  const content = (name: string, bytes: number) => ({ name, content: Buffer.alloc(bytes, name) });
  const publish = (name: string, files: ReturnType<typeof content>[]) =>
    publishModel({ storage: home, name, source: name, marker: 'config.json', files, weights: null });
  const config = content('config.json', 100);
  await publish('final', [config, ...weightFiles.map((name) => content(name, 4 << 20))]);
  await publish('onnx', [config, content('genai_config.json', 100), content('onnx/model.onnx', 8 << 20)]);
});
afterAll(async () => {
  await hub.close();
  await s3.stop();
});

function publishTo(location: string): ChildProcess {
  return spawn(process.execPath, [program, folder, location], {
    env: { ...process.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Lets a process publish until `when`, kills it, and waits for its exit. */
async function killWhen(child: ChildProcess, when: (fraction: number) => boolean): Promise<void> {
  const exit = once(child, 'exit');
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    if (
      text
        .trim()
        .split('\n')
        .some((line) => when(Number(line)))
    )
      child.kill('SIGKILL');
  });
  expect(await exit).toEqual([null, 'SIGKILL']);
}

async function expectSuccess(child: ChildProcess): Promise<void> {
  child.stdout!.resume();
  expect(await once(child, 'exit')).toEqual([0, null]);
}

/** Returns what a loader finds, nothing or everything; anything in between fails the test. */
async function load(published: Storage): Promise<'nothing' | 'everything'> {
  const entries = ['config.json', 'genai_config.json'];
  const sizes = await Promise.all(entries.map((name) => published.size(name)));
  // The marker comes last, and the other files that loaders look for just before it.
  if (sizes[0] === null) return 'nothing';
  const manifest = await readPublication(published);
  expect(Object.keys(manifest?.files ?? {}).sort()).toEqual(names);
  return 'everything';
}

describe.each(['a folder', 'S3'])('publishing to %s', (kind) => {
  test.each([0.01, 0.5, 0.99])(
    'killed at %d of its bytes, shows nothing, and is finished by the next process',
    async (fraction) => {
      const name = `killed-${fraction}`;
      const location = kind === 'S3' ? `s3://bucket/${name}` : path.join(folder, 'published', name);
      const published = await openStorage(location, { roots: null });
      const child = publishTo(location);
      let hasExited = false;
      const watch = (async () => {
        while (!hasExited) expect(await load(published)).toBe('nothing');
      })();
      try {
        await killWhen(child, (done) => done >= fraction);
      } finally {
        hasExited = true;
      }
      await watch;
      await expectSuccess(publishTo(location));
      expect(await load(published)).toBe('everything');
      const keys: string[] = [];
      for await (const { key } of published.list('')) keys.push(key);
      expect(keys.sort()).toEqual([...names, 'temper_manifest.json'].sort());
    },
    60_000,
  );
});

test('publishing to a hub again after a kill sends only the missing files, in one commit', async () => {
  const visibleFiles: string[][] = [];
  let puts = 0;
  hub.intercept = (request) => {
    visibleFiles.push(Object.keys(hub.files('owner/killed')));
    // Three large files arrive; the uploads of the others never end.
    return request.method === 'PUT' && ++puts > 3;
  };
  const child = publishTo('hf://owner/killed');
  const exit = once(child, 'exit');
  child.stdout!.resume();
  await until('three files to arrive', () => hub.objects.size >= 3);
  child.kill('SIGKILL');
  await exit;
  const arrived = [...hub.objects.keys()];
  expect(hub.commits('owner/killed')).toHaveLength(1);
  hub.intercept = null;
  hub.sent.length = 0;
  await expectSuccess(publishTo('hf://owner/killed'));
  expect(visibleFiles.flat().filter((name) => name !== '.gitattributes')).toEqual([]);
  expect(hub.sent).toHaveLength(weightFiles.length + 1 - arrived.length);
  expect(arrived.filter((digest) => hub.sent.includes(digest))).toEqual([]);
  expect(hub.commits('owner/killed').map(({ title }) => title)).toEqual(['initial commit', 'Published']);
  expect(Object.keys(hub.files('owner/killed')).sort()).toEqual(
    [...names, '.gitattributes', 'temper_manifest.json'].sort(),
  );
}, 60_000);
