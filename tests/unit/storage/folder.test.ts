import { createHook } from 'node:async_hooks';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { StorageError } from '../../../shared/errors.js';
import { openStorage, type Storage } from '../../../shared/storage/index.js';
import { mountingTest, mountTmpfs } from '../../support/small_disk.js';
import { temporaryFolder } from '../../support/temporary_folder.js';

const root = temporaryFolder();
let count = 0;

async function newStorage(): Promise<Storage & { folder: string }> {
  count += 1;
  const storage = await openStorage(path.join(root, `s${count}`), { roots: null });
  return storage as Storage & { folder: string };
}

async function listKeys(storage: Storage, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of storage.list(prefix)) keys.push(key);
  return keys;
}

test('an object in a folder is read back whole, in ranges and as a stream', async () => {
  const storage = await newStorage();
  await storage.write('a/b.bin', Buffer.from('0123456789'));
  expect((await storage.read('a/b.bin')).toString()).toBe('0123456789');
  expect((await storage.readRange('a/b.bin', 3, 6)).toString()).toBe('345');
  expect(await storage.size('a/b.bin')).toBe(10);
  let text = '';
  for await (const chunk of storage.readStream('a/b.bin', 8)) text += String(chunk);
  expect(text).toBe('89');
});

test('a stream of chunks is written in order', async () => {
  const storage = await newStorage();
  await storage.write(
    'x',
    (async function* () {
      yield Buffer.from('ab');
      yield Buffer.from('cd');
    })(),
  );
  expect((await storage.read('x')).toString()).toBe('abcd');
});

test('a write that fails midway leaves the old object and no other file', async () => {
  const storage = await newStorage();
  await storage.write('x', Buffer.from('old'));
  const failing = storage.write(
    'x',
    (async function* () {
      yield Buffer.from('new');
      throw new Error('source failed');
    })(),
  );
  await expect(failing).rejects.toThrow('source failed');
  expect((await storage.read('x')).toString()).toBe('old');
  expect(readdirSync(storage.folder)).toEqual(['x']);
});

test('exactly one of many exclusive creations of a key succeeds, and its content stays', async () => {
  const storage = await newStorage();
  const outcomes = await Promise.all(
    Array.from({ length: 16 }, (_, i) => storage.createExclusive('log/1', Buffer.from(`writer ${i}`))),
  );
  expect(outcomes.filter(Boolean)).toHaveLength(1);
  expect((await storage.read('log/1')).toString()).toBe(`writer ${outcomes.indexOf(true)}`);
  expect(readdirSync(path.join(storage.folder, 'log'))).toEqual(['1']);
});

test('a range past the end is an error that says where the object ends', async () => {
  const storage = await newStorage();
  await storage.write('x', Buffer.from('0123'));
  await expect(storage.readRange('x', 2, 9)).rejects.toThrow(/x: ends at byte 4, before 9/);
});

test('a missing object has no size, and reading it fails with its name', async () => {
  const storage = await newStorage();
  expect(await storage.size('no/such')).toBeNull();
  await expect(storage.read('no/such')).rejects.toThrow(/no\/such: cannot be read: there is no such file/);
});

test('objects are listed by prefix in byte order, as S3 lists them', async () => {
  const storage = await newStorage();
  for (const key of ['b', 'a/2', 'a/1', 'a.x', 'a0', 'ä']) await storage.write(key, Buffer.from(key));
  expect(await listKeys(storage, '')).toEqual(['a.x', 'a/1', 'a/2', 'a0', 'b', 'ä']);
  expect(await listKeys(storage, 'a/')).toEqual(['a/1', 'a/2']);
  expect(await listKeys(storage, 'a')).toEqual(['a.x', 'a/1', 'a/2', 'a0']);
});

test('deleting the last object of a folder removes the folder', async () => {
  const storage = await newStorage();
  await storage.write('g1/step/x', Buffer.alloc(1));
  await storage.write('keep', Buffer.alloc(1));
  await storage.delete('g1/step/x');
  expect(readdirSync(storage.folder)).toEqual(['keep']);
});

test('deleting a prefix also removes files that were never finished', async () => {
  const storage = await newStorage();
  mkdirSync(path.join(storage.folder, 'g1/step-00000001'), { recursive: true });
  writeFileSync(path.join(storage.folder, 'g1/step-00000001/.rank.partial'), 'torn');
  await storage.write('g2/x', Buffer.alloc(1));
  await storage.deletePrefix('g1/step-');
  expect(readdirSync(storage.folder)).toEqual(['g2']);
});

test.each(['../x', 'a/../../x', '/etc/passwd', './x', 'a//b', '', 'a\0b'])(
  'the key %j is refused',
  async (key) => {
    const storage = await newStorage();
    await expect(storage.read(key)).rejects.toThrow(StorageError);
    await expect(storage.write(key, Buffer.alloc(1))).rejects.toThrow(/the key/);
  },
);

test('a folder outside the roots is refused, and the message lists them', async () => {
  const roots = [path.join(root, 'allowed')];
  const attempt = openStorage(path.join(root, 'elsewhere'), { roots });
  await expect(attempt).rejects.toThrow(/elsewhere: is outside the storage roots .*allowed/);
  await expect(openStorage(path.join(root, 'allowed-not'), { roots })).rejects.toThrow(StorageError);
});

test('a symbolic link that leads out of the roots is refused, one that stays within is followed', async () => {
  const allowed = path.join(root, 'links');
  mkdirSync(path.join(allowed, 'inner'), { recursive: true });
  writeFileSync(path.join(allowed, 'inner/blob'), 'blob');
  symlinkSync('inner/blob', path.join(allowed, 'good'));
  symlinkSync('/etc', path.join(allowed, 'bad'));
  const storage = await openStorage(allowed, { roots: [allowed] });
  expect((await storage.read('good')).toString()).toBe('blob');
  await expect(storage.read('bad/passwd')).rejects.toThrow(/outside the storage roots/);
  await expect(openStorage(path.join(allowed, 'bad'), { roots: [allowed] })).rejects.toThrow(/outside/);
});

test.each([
  ['without roots', null],
  ['within roots', [root]],
])(
  'a listing %s looks at no file: it asks the system as often for a thousand as for ten',
  async (_, roots) => {
    const questions = async (entries: number): Promise<number> => {
      const storage = await openStorage((await newStorage()).folder, { roots });
      mkdirSync(path.join(storage.folder!, 'commits'), { recursive: true });
      for (let i = 0; i < entries; i += 1) writeFileSync(path.join(storage.folder!, `commits/${i}.json`), '');
      let asked = 0;
      const hook = createHook({
        init(_id, type) {
          if (type.startsWith('FSREQ')) asked += 1;
        },
      }).enable();
      try {
        expect(await listKeys(storage, 'commits/')).toHaveLength(entries);
      } finally {
        hook.disable();
      }
      return asked;
    };
    const forTen = await questions(10);
    expect(forTen).toBeGreaterThan(0);
    expect(await questions(1000)).toBe(forTen);
  },
);

test('a write below a file is a StorageError', async () => {
  const storage = await newStorage();
  await storage.write('x', Buffer.alloc(1));
  await expect(storage.write('x/y', Buffer.alloc(1))).rejects.toThrow(StorageError);
});

mountingTest(
  'a full disk is a StorageError with a remedy; earlier objects stay, and no partial file is left',
  async () => {
    const folder = path.join(root, 'small');
    mkdirSync(folder);
    mountTmpfs(folder);
    try {
      const storage = await openStorage(folder, { roots: null });
      await storage.write('earlier', Buffer.alloc(200_000, 1));
      await expect(storage.write('later', Buffer.alloc(2_000_000))).rejects.toThrow(
        /later: cannot be written: the disk is full.*ENOSPC/,
      );
      await expect(storage.createExclusive('entry', Buffer.alloc(2_000_000))).rejects.toThrow(/disk is full/);
      expect(readdirSync(folder)).toEqual(['earlier']);
    } finally {
      execFileSync('umount', [folder]);
    }
  },
);

mountingTest('a write to a read-only file system says that it is read-only', async () => {
  const folder = path.join(root, 'readonly');
  mkdirSync(folder);
  mountTmpfs(folder, 'ro');
  try {
    const storage = await openStorage(path.join(folder, 'run'), { roots: null });
    await expect(storage.write('x', Buffer.alloc(1))).rejects.toThrow(/read-only: put the run elsewhere/);
  } finally {
    execFileSync('umount', [folder]);
  }
});
