import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { downloadModel } from '../../../components/models/hub/download.js';
import { type ResolveOptions, resolveModel } from '../../../components/models/index.js';
import { ModelError, ServiceUnavailable, StorageError } from '../../../shared/errors.js';
import { golden } from '../../support/goldens.js';
import { type HubRepository, type HubServer, startHubServer } from '../../support/hub_server.js';

const commit = '0123456789abcdef0123456789abcdef01234567';
const id = 'owner/tiny-model';
const source = golden('models', 'gqa_tied_bf16');
const file = (name: string) => readFileSync(path.join(source, name));
const repository: HubRepository = {
  id,
  commit,
  branch: 'main',
  files: {
    'README.md': Buffer.from('# A model'),
    'config.json': file('config.json'),
    'model.safetensors': file('model.safetensors'),
    'onnx/model.onnx': Buffer.from('not wanted'),
    'pytorch_model.bin': Buffer.from('not wanted either'),
  },
};

let cache: string;
let hub: HubServer;
beforeEach(async () => {
  cache = await mkdtemp(path.join(tmpdir(), 'temper-hub-'));
  hub = await startHubServer(repository);
});
afterEach(async () => {
  await hub.close();
  await rm(cache, { recursive: true, force: true });
});

const resolve = (options: Partial<ResolveOptions> = {}) =>
  resolveModel(id, { cache, endpoint: hub.endpoint, retryDelayMs: 1, ...options });
const home = () => path.join(cache, 'hub', 'owner--tiny-model');

test('a model is downloaded at its commit, and only the files that are needed', async () => {
  const progress: number[] = [];
  const {
    folder,
    source: from,
    weights,
  } = await resolve({ onProgress: ({ done, total }) => progress.push(done / total) });
  expect(from).toEqual({ kind: 'hub', id, commit });
  expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors']);
  expect(await readFile(path.join(folder, 'model.safetensors'))).toEqual(
    repository.files['model.safetensors'],
  );
  expect(weights.size).toBeGreaterThan(0);
  expect(progress.at(-1)).toBe(1);
  expect(readdirSync(home()).sort()).toEqual([commit, 'refs']);
});

test('a pinned commit in the cache needs no network', async () => {
  await resolve();
  await hub.close();
  expect((await resolve({ revision: commit })).source).toMatchObject({ commit });
});

test('a branch is resolved again, and its files are not fetched again', async () => {
  await resolve();
  hub.requests.length = 0;
  await resolve();
  expect(hub.requests.map(({ url }) => url)).toEqual([`/api/models/${id}/revision/main`]);
});

test('a branch that was resolved before is read from the cache when the hub cannot be reached, with a notice', async () => {
  await resolve();
  await hub.close();
  const notices: string[] = [];
  await resolve({ onNotice: (text) => notices.push(text) });
  expect(notices).toEqual([
    `the hub cannot be reached; ${id} at main is taken from the cache, commit ${commit}`,
  ]);
});

test('a download whose connection breaks continues where it broke', async () => {
  let breaks = 2;
  hub.intercept = (_, response, content, start) => {
    if (content !== repository.files['model.safetensors'] || breaks-- <= 0) return false;
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': content.length - start });
    response.write(content.subarray(start, start + 1000), () => response.destroy());
    return true;
  };
  const { folder } = await resolve();
  expect(await readFile(path.join(folder, 'model.safetensors'))).toEqual(
    repository.files['model.safetensors'],
  );
  const ranges = hub.requests.filter(({ url }) => url.startsWith('/cdn/')).map(({ range }) => range);
  expect(ranges).toEqual([null, 'bytes=1000-', 'bytes=2000-']);
});

test('a download continues with the partial file of an earlier process', async () => {
  const content = repository.files['model.safetensors']!;
  hub.intercept = (_, response) => {
    response.destroy();
    return true;
  };
  await expect(resolve()).rejects.toBeInstanceOf(ServiceUnavailable);
  await writeFile(
    path.join(home(), `${commit}.partial`, 'model.safetensors.partial'),
    content.subarray(0, 500),
  );
  hub.intercept = null;
  hub.requests.length = 0;
  await resolve();
  expect(hub.requests.filter(({ range }) => range !== null).map(({ range }) => range)).toContain(
    'bytes=500-',
  );
});

test('a partial download from a server that ignores ranges starts over', async () => {
  await expect(
    (async () => {
      hub.intercept = (_, response) => {
        response.destroy();
        return true;
      };
      await resolve();
    })(),
  ).rejects.toThrow();
  const content = repository.files['model.safetensors']!;
  await writeFile(
    path.join(home(), `${commit}.partial`, 'model.safetensors.partial'),
    content.subarray(0, 500),
  );
  hub.intercept = (_, response, whole) => {
    response.end(whole);
    return true;
  };
  const { folder } = await resolve();
  expect(await readFile(path.join(folder, 'model.safetensors'))).toEqual(content);
});

test.each(['config.json', 'model.safetensors'])(
  'a download of %s that arrives damaged is fetched again, then refused by name',
  async (name) => {
    let damagedAnswers = 0;
    hub.intercept = (_, response, content) => {
      if (content !== repository.files[name]) return false;
      damagedAnswers++;
      const bytes = Buffer.from(content);
      bytes[10]! ^= 1;
      response.end(bytes);
      return true;
    };
    const error = await resolve().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ModelError);
    expect((error as Error).message).toMatch(
      new RegExp(`${id}: ${name} is damaged: (sha256|git-sha1) [0-9a-f]+, but the hub lists`),
    );
    expect(damagedAnswers).toBe(2);
    expect(existsSync(path.join(home(), commit))).toBe(false);
  },
);

test('a request to a busy hub is repeated', async () => {
  hub.failing = 3;
  expect((await resolve()).source).toMatchObject({ commit });
});

test('a hub that stays down is ServiceUnavailable', async () => {
  hub.failing = 100;
  await expect(resolve()).rejects.toThrow(/answers 503, after 5 attempts/);
  await expect(resolve()).rejects.toBeInstanceOf(ServiceUnavailable);
});

test('an unknown model or revision is refused at once', async () => {
  await expect(resolve({ revision: 'nope' })).rejects.toThrow(/the hub has no such model, revision or file/);
  expect(hub.requests).toHaveLength(1);
});

test('a private model is refused with a remedy, and opens with the token', async () => {
  await hub.close();
  hub = await startHubServer({ ...repository, token: 'secret' });
  await expect(resolve({ token: '' })).rejects.toThrow(/refuses access \(401\).*set HF_TOKEN/);
  expect((await resolve({ token: 'secret' })).source).toMatchObject({ commit });
});

test('a repository without safetensors names the GGUF file it has', async () => {
  await hub.close();
  hub = await startHubServer({
    ...repository,
    files: { 'config.json': file('config.json'), 'q4.gguf': Buffer.from('x') },
  });
  await expect(resolve()).rejects.toThrow(/no safetensors weights; it has q4.gguf: download that file/);
});

test('two downloads of a model at the same time share one', async () => {
  const [a, b] = await Promise.all([resolve(), resolve()]);
  expect(a.folder).toBe(b.folder);
  expect(hub.requests.filter(({ url }) => url.startsWith('/cdn/'))).toHaveLength(1);
});

test('the hub gets no request offline', async () => {
  process.env.HF_HUB_OFFLINE = '1';
  try {
    await expect(resolve()).rejects.toThrow(/is not in the cache, and HF_HUB_OFFLINE/);
    expect(hub.requests).toEqual([]);
  } finally {
    delete process.env.HF_HUB_OFFLINE;
  }
});

/** Writes the lock of a download by a process of another host, and returns its path. */
function writeForeignLock(): string {
  const lock = path.join(home(), `${commit}.lock`);
  mkdirSync(lock, { recursive: true });
  const uuid = '00000000-0000-0000-0000-000000000000';
  writeFileSync(path.join(lock, `${'0'.repeat(16)}-4242-1.${uuid}.node-17`), '');
  return lock;
}

test('a download of another host whose lock is no longer renewed is taken over, after a notice', async () => {
  const lock = writeForeignLock();
  const notices: string[] = [];
  const { folder } = await downloadModel(id, {
    cache,
    endpoint: hub.endpoint,
    staleAfterMs: 1500,
    onNotice: (text) => notices.push(text),
  });
  expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors']);
  expect(notices).toEqual([`waiting for process 4242 on node-17, which holds ${lock}`]);
  expect(existsSync(lock)).toBe(false);
});

test('an empty lock of a killed process does not block a download', async () => {
  mkdirSync(path.join(home(), `${commit}.lock`), { recursive: true });
  await expect(resolve()).resolves.toMatchObject({ source: { commit } });
});

test('a download into a cache that cannot be written to fails at once and names it', async () => {
  await resolve();
  const otherCommit = 'f'.repeat(40);
  chmodSync(cache, 0o755);
  chmodSync(home(), 0o555);
  const user = process.geteuid!();
  // Permissions do not restrict root.
  if (user === 0) process.seteuid!(65534);
  try {
    await expect(resolve({ revision: otherCommit })).rejects.toBeInstanceOf(StorageError);
    await expect(resolve({ revision: otherCommit })).rejects.toThrow(
      `${path.join(home(), `${otherCommit}.lock`)}: `,
    );
  } finally {
    if (user === 0) process.seteuid!(user);
    chmodSync(home(), 0o755);
  }
});
