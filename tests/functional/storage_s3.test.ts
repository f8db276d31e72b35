import { randomBytes } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { checkStorage } from '../../cli/doctor/storage.js';
import {
  claimRun,
  loadNewestSound,
  MetricsJournal,
  newestSound,
  readLog,
  takeGeneration,
} from '../../components/checkpoint/index.js';
import { publishModel } from '../../components/publication/index.js';
import { admit } from '../../recipes/index.js';
import { FencedError, ServiceUnavailable, StorageError } from '../../shared/errors.js';
import { openStorage, requireExclusiveCreation, type Storage } from '../../shared/storage/index.js';
import { LenientStore } from '../support/lenient_store.js';
import { type S3Server, startS3Server } from '../support/s3_server.js';
import { digest, newSaver, save, tensorsAt, trainerState } from '../unit/checkpoint/fixture.js';

let server: S3Server;
let count = 0;

beforeAll(async () => {
  server = await startS3Server(['runs']);
  Object.assign(process.env, server.env);
}, 300_000);
afterAll(() => server.stop());

async function newStorage(): Promise<Storage> {
  count += 1;
  return openStorage(`s3://runs/team/run${count}`, { roots: ['s3://runs/team'] });
}

async function listKeys(storage: Storage, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of storage.list(prefix)) keys.push(key);
  return keys;
}

test('an object on S3 is read back whole and in ranges', async () => {
  const storage = await newStorage();
  await storage.write('a/b c.bin', Buffer.from('0123456789'));
  expect((await storage.read('a/b c.bin')).toString()).toBe('0123456789');
  expect((await storage.readRange('a/b c.bin', 3, 6)).toString()).toBe('345');
  expect(await storage.size('a/b c.bin')).toBe(10);
  expect(await storage.size('a/none')).toBeNull();
  await storage.write('empty', Buffer.alloc(0));
  expect(await storage.size('empty')).toBe(0);
});

test.each([0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 50_000_003])(
  'a stream of %d bytes in odd chunks arrives whole on S3',
  async (bytes) => {
    const storage = await newStorage();
    const data = randomBytes(bytes);
    await storage.write(
      'x',
      (async function* () {
        for (let offset = 0, size = 1; offset < bytes; offset += size, size = (size * 7 + 3) % 3_000_017) {
          yield data.subarray(offset, offset + size);
        }
      })(),
    );
    expect((await storage.read('x')).equals(data)).toBe(true);
  },
);

test('a stream that fails leaves neither an object nor parts', async () => {
  const storage = await newStorage();
  const failing = storage.write(
    'x',
    (async function* () {
      yield Buffer.alloc(20 << 20);
      throw new Error('source failed');
    })(),
  );
  await expect(failing).rejects.toThrow('source failed');
  expect(await storage.size('x')).toBeNull();
  const { ListMultipartUploadsCommand, S3Client } = await import('@aws-sdk/client-s3');
  const client = new S3Client({ forcePathStyle: true });
  const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: 'runs' }));
  expect(Uploads ?? []).toEqual([]);
});

test('exactly one of many exclusive creations of a key on S3 succeeds, and its content stays', async () => {
  const storage = await newStorage();
  const outcomes = await Promise.all(
    Array.from({ length: 16 }, (_, i) => storage.createExclusive('log/1', Buffer.from(`writer ${i}`))),
  );
  expect(outcomes.filter(Boolean)).toHaveLength(1);
  expect((await storage.read('log/1')).toString()).toBe(`writer ${outcomes.indexOf(true)}`);
});

test('more than a page of objects is listed in order and deleted by prefix', async () => {
  const storage = await newStorage();
  const names = Array.from({ length: 1100 }, (_, i) => `many/${String(i).padStart(4, '0')}`);
  for (let i = 0; i < names.length; i += 50) {
    await Promise.all(names.slice(i, i + 50).map((name) => storage.write(name, Buffer.from('x'))));
  }
  await storage.write('other', Buffer.from('x'));
  expect(await listKeys(storage, 'many/')).toEqual(names);
  await storage.deletePrefix('many/');
  expect(await listKeys(storage, '')).toEqual(['other']);
}, 60_000);

test('a prefix outside the roots is refused', async () => {
  const attempt = openStorage('s3://runs/elsewhere', { roots: ['s3://runs/team'] });
  await expect(attempt).rejects.toThrow(/outside the storage roots .*s3:\/\/runs\/team/);
});

test('a missing bucket is named, with what to do', async () => {
  const storage = await openStorage('s3://no-such-bucket/x', { roots: null });
  await expect(storage.write('k', Buffer.alloc(1))).rejects.toThrow(
    /s3:\/\/no-such-bucket\/x\/k: .*there is no such bucket/,
  );
});

test('a missing object is a StorageError that names it', async () => {
  await expect((await newStorage()).read('nothing')).rejects.toThrow(/nothing: .*there is no such object/);
});

test('wrong credentials are a StorageError that says which variable to check', async () => {
  process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
  try {
    const storage = await newStorage();
    await expect(storage.write('k', Buffer.alloc(1))).rejects.toThrow(StorageError);
    await expect(storage.write('k', Buffer.alloc(1))).rejects.toThrow(/AWS_SECRET_ACCESS_KEY/);
    // HEAD, whose answer says no more than 403.
    await expect(storage.size('k')).rejects.toThrow(StorageError);
    await expect(storage.size('k')).rejects.toThrow(
      /s3:\/\/runs\/team\/run\d+\/k: .*access denied: wrong credentials .*AWS_SECRET_ACCESS_KEY/,
    );
  } finally {
    Object.assign(process.env, server.env);
  }
});

test('a server that is not there is ServiceUnavailable', async () => {
  process.env.AWS_ENDPOINT_URL_S3 = 'http://127.0.0.1:1';
  try {
    await expect((await newStorage()).read('k')).rejects.toThrow(ServiceUnavailable);
  } finally {
    Object.assign(process.env, server.env);
  }
});

test('a download whose connection breaks continues where it broke', async () => {
  const data = randomBytes(8 << 20);
  await (await newStorage()).write('x', data);
  const upstream = new URL(server.env.AWS_ENDPOINT_URL_S3!);
  const proxy = await breakingProxy(Number(upstream.port), 3 << 20, 2);
  process.env.AWS_ENDPOINT_URL_S3 = `http://127.0.0.1:${proxy.port}`;
  try {
    const proxied = await openStorage(`s3://runs/team/run${count}`, { roots: null });
    expect((await proxied.read('x')).equals(data)).toBe(true);
    expect(proxy.broken()).toBe(2);
  } finally {
    Object.assign(process.env, server.env);
    proxy.close();
  }
});

test('checkpoints, fencing, retention and resume work on an object store as in a folder', async () => {
  const storage = await newStorage();
  const oldSaver = await newSaver(storage, { keepLast: 2 });
  for (const step of [1, 2, 3]) await save(oldSaver, step);
  const newest = await newestSound(storage);
  const saver = await newSaver(storage, { keepLast: 2, resumedFrom: newest.entry });
  await oldSaver.begin({ trainer: trainerState(4), tensors: tensorsAt(4) });
  await expect(oldSaver.settle()).rejects.toThrow(FencedError);
  await save(saver, 4);
  expect(await listKeys(storage, 'g')).toEqual(
    ['g1/step-00000003', 'g2/step-00000004'].flatMap((folder) =>
      ['json', 'safetensors'].map((type) => `${folder}/rank-00000-of-00001.${type}`),
    ),
  );
  const bytes: Record<string, number> = {};
  const { entry, damage } = await loadNewestSound(storage, (checkpoint) =>
    checkpoint.stream((name, _, chunk) => {
      bytes[name] = (bytes[name] ?? 0) + chunk.length;
    }),
  );
  expect([entry?.trainer.step, damage]).toEqual([4, []]);
  expect(bytes).toEqual({ w: 48, 'adam.m/w': 10, scalar: 4 });
});

test('takers that race through S3 get different generations', async () => {
  const storage = await newStorage();
  const generations = await Promise.all(
    Array.from({ length: 8 }, (_, i) => takeGeneration(storage, { holder: `pool.h.${i}`, worldSize: 1 })),
  );
  expect(generations.map(({ generation }) => generation).sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  let entries = 0;
  for await (const { entry } of readLog(storage)) entries += entry === null ? 0 : 1;
  expect(entries).toBe(8);
});

test('a run is claimed once by the one that creates run.json', async () => {
  const storage = await newStorage();
  const claim = {
    runId: 'a',
    recipeDigest: digest,
    workflow: null,
    fresh: false,
    recipes: { previous: null, next: {} },
    guarded: [],
  };
  const claims = await Promise.all([
    claimRun(storage, claim),
    claimRun(storage, claim),
    claimRun(storage, claim),
  ]);
  expect(claims.map(({ kind }) => kind).sort()).toEqual(['new', 'resumed', 'resumed']);
});

test('the journal keeps each step once across generations', async () => {
  const storage = await newStorage();
  const line = (step: number, generation: number) =>
    ({
      step,
      epoch: 0,
      loss: generation,
      grad_norm: 1,
      lr: 1,
      mem: 1,
      tps: 1,
      tps_per_device: 1,
      num_tokens_per_step: 1,
      num_label_tokens: 1,
      timestamp: 1,
      generation,
    }) as const;
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const firstJournal = await MetricsJournal.open({ storage, generation, resumedFrom: null });
  const saver = await newSaver(storage, { generation, journal: firstJournal });
  for (const step of [1, 2]) firstJournal.append(line(step, 1));
  const resumedFrom = await save(saver, 2);
  for (const step of [3, 4]) firstJournal.append(line(step, 1));
  await firstJournal.publish();
  await takeGeneration(storage, { holder: 'pool.host.2', worldSize: 1 });
  const secondJournal = await MetricsJournal.open({ storage, generation: 2, resumedFrom });
  for (const step of [3, 4, 5]) secondJournal.append(line(step, 2));
  await secondJournal.publish();
  await expect(firstJournal.publish()).resolves.toBeUndefined();
  firstJournal.append(line(5, 1));
  await expect(firstJournal.publish()).rejects.toThrow(FencedError);
  const lines = (await storage.read('metrics.jsonl')).toString().trim().split('\n');
  expect(lines.map((text) => JSON.parse(text)).map(({ step, generation }) => [step, generation])).toEqual([
    [1, 1],
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 2],
  ]);
});

test('a publication that fails on an object store never shows its marker', async () => {
  const storage = await newStorage();
  const options = {
    storage,
    name: 'final',
    source: 'one',
    marker: 'config.json',
    files: [
      { name: 'config.json', content: '{}' },
      { name: 'tokenizer.json', content: '{"t":1}' },
    ],
    weights: {
      stem: 'model' as const,
      tensors: [{ name: 'w', dtype: 'F32' as const, shape: [2], chunks: () => [new Uint8Array(8)] }],
    },
  };
  await publishModel(options);
  const failingContent = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from('{');
    throw new Error('source failed');
  };
  const failing = {
    ...options,
    source: 'two',
    files: [...options.files, { name: 'late.json', content: failingContent }],
  };
  await expect(publishModel(failing)).rejects.toThrow('source failed');
  expect(await storage.size('final/config.json')).toBeNull();
  const { files } = await publishModel({ ...options, source: 'two' });
  expect(Object.keys(files).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
  expect(await storage.size('final/config.json')).toBe(2);
  expect(await storage.size('final/late.json')).toBeNull();
});

/** Starts a proxy that breaks the first `breaks` connections once they have carried more than `limit` bytes back. */
async function breakingProxy(
  target: number,
  limit: number,
  breaks: number,
): Promise<{ port: number; broken(): number; close(): void }> {
  let broken = 0;
  const sockets = new Set<Socket>();
  const { connect } = await import('node:net');
  const proxy = createServer((client) => {
    const upstream = connect(target, '127.0.0.1');
    let passed = 0;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
    }
    client.pipe(upstream);
    upstream.on('data', (chunk) => {
      passed += chunk.length;
      client.write(chunk);
      if (passed > limit && broken < breaks) {
        broken += 1;
        client.resetAndDestroy();
        upstream.destroy();
      }
    });
    upstream.on('end', () => client.end());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    broken: () => broken,
    close() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    },
  };
}

test('the first commit of the next generation aborts the uploads of a killed rank', async () => {
  const storage = await newStorage();
  const resumedFrom = await save(await newSaver(storage), 1);
  const { CreateMultipartUploadCommand, S3Client } = await import('@aws-sdk/client-s3');
  const client = new S3Client({ forcePathStyle: true });
  const prefix = storage.uri.slice('s3://runs/'.length);
  const begin = (key: string) =>
    client.send(new CreateMultipartUploadCommand({ Bucket: 'runs', Key: `${prefix}/${key}` }));
  await begin('g1/step-00000002/rank-00000-of-00001.safetensors');
  await begin('g2/step-00000009/rank-00000-of-00001.safetensors');
  const listUnfinished = async () => {
    const names: string[] = [];
    for await (const { key } of storage.unfinished('g')) names.push(key.slice(0, key.indexOf('/')));
    return names.sort();
  };
  expect(await listUnfinished()).toEqual(['g1', 'g2']);
  await save(await newSaver(storage, { resumedFrom }), 2);
  expect(await listUnfinished()).toEqual(['g2']);
});

describe('a store that does not honor If-None-Match', () => {
  let lenient: LenientStore | null = null;
  afterEach(async () => {
    Object.assign(process.env, server.env);
    await lenient?.close();
  });

  test.each(['strips the header', 'answers 200'] as const)('that %s is refused by name', async (how) => {
    lenient = await LenientStore.start(server, how);
    process.env.AWS_ENDPOINT_URL_S3 = lenient.endpoint;
    const storage = await openStorage(`s3://runs/lenient-${lenient.port}`, { roots: null });
    await expect(requireExclusiveCreation(storage)).rejects.toThrow(
      /^s3:\/\/runs\/lenient-\d+: .*does not honor exclusive creation \(a PUT with If-None-Match: \*\)/,
    );
    const uri = storage.uri;
    const recipe = {
      name: 'x',
      model: { name: 'm' },
      data: { train: { dataset_type: 'mock' } },
      output_dir: uri,
    };
    const info = { workflowId: 'x', runId: 'x', namespace: 'default', server: null, roots: null };
    await expect(admit(recipe, info)).rejects.toThrow(/does not honor exclusive creation/);
    const findings = await checkStorage({ roots: [uri], cache: '/tmp' });
    expect(findings.at(-1)).toMatchObject({ status: 'fail' });
    expect(JSON.stringify(findings.at(-1))).toMatch(/does not honor exclusive creation/);
    expect(await listKeys(storage, '')).toEqual([]);
  });

  test('is told from one that does, and the check leaves nothing behind', async () => {
    const storage = await newStorage();
    await requireExclusiveCreation(storage);
    expect(await listKeys(storage, '')).toEqual([]);
  });
});
