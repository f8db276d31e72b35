import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { jest } from '@jest/globals';
import {
  partialName,
  publishFolder,
  removeAbandoned,
  syncFolder,
  writeAtomically,
  writeUnsynced,
} from '../../../shared/files.js';
import { ownProcessTag } from '../../../shared/process_identity.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'temper-files-'));
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

test.each([writeAtomically, writeUnsynced])(
  '%o replaces a file with text, bytes or a stream',
  async (write) => {
    const file = path.join(folder, 'file');
    await write(file, 'text');
    expect(readFileSync(file, 'utf8')).toBe('text');
    await write(file, new Uint8Array([1, 2]));
    expect([...readFileSync(file)]).toEqual([1, 2]);
    await write(
      file,
      (async function* () {
        yield new Uint8Array([3]);
        yield new Uint8Array([4, 5]);
      })(),
    );
    expect([...readFileSync(file)]).toEqual([3, 4, 5]);
    expect(readdirSync(folder)).toEqual(['file']);
  },
);

test('a write that fails leaves the old file and no other', async () => {
  const file = path.join(folder, 'file');
  await writeAtomically(file, 'old');
  const failingSource = (async function* () {
    yield new Uint8Array([1]);
    throw new Error('source is gone');
  })();
  await expect(writeAtomically(file, failingSource)).rejects.toThrow('source is gone');
  expect(readFileSync(file, 'utf8')).toBe('old');
  expect(readdirSync(folder)).toEqual(['file']);
});

test('a folder is published once, and a second one stays where it is', async () => {
  const final = path.join(folder, 'final');
  const [firstFolder, secondFolder] = [partialName(final), partialName(final)];
  for (const partial of [firstFolder, secondFolder]) {
    mkdirSync(partial);
    writeFileSync(path.join(partial, 'x'), partial);
  }
  expect(await publishFolder(firstFolder, final)).toBe(true);
  expect(await publishFolder(secondFolder, final)).toBe(false);
  expect(readFileSync(path.join(final, 'x'), 'utf8')).toBe(firstFolder);
  expect(existsSync(secondFolder)).toBe(true);
});

test.each(['EINVAL', 'ENOTSUP'])(
  'a file system that answers %s to the sync of a folder is accepted',
  async (code) => {
    const handle = await open(folder);
    const prototype = Object.getPrototypeOf(handle) as { sync(): Promise<void> };
    await handle.close();
    // No file system of this machine refuses it.
    jest.spyOn(prototype, 'sync').mockRejectedValue(Object.assign(new Error(code), { code }));
    await expect(syncFolder(folder)).resolves.toBeUndefined();
    jest.spyOn(prototype, 'sync').mockRejectedValue(Object.assign(new Error('EIO'), { code: 'EIO' }));
    await expect(syncFolder(folder)).rejects.toThrow('EIO');
  },
);

test('unfinished work is removed when its process is gone, not while that runs or its state is unknown', async () => {
  const [scope] = ownProcessTag().split('-');
  const name = (tag: string) => path.join(folder, `model.${tag}.${randomUUID()}.partial`);
  const endedPid = spawnSync('true').pid;
  const ownName = partialName(path.join(folder, 'model'));
  const abandoned = name(`${scope}-${endedPid}-1`);
  const foreign = name(`${'0'.repeat(16)}-${endedPid}-1`);
  for (const entry of [ownName, abandoned, foreign]) mkdirSync(entry);
  writeFileSync(path.join(abandoned, 'weights'), 'half');
  await removeAbandoned(folder);
  expect(readdirSync(folder).sort()).toEqual([ownName, foreign].map((entry) => path.basename(entry)).sort());
});

test('unfinished work of a process in an unknown state is removed after a day, resumable work after a month', async () => {
  const days = (count: number) => new Date(Date.now() - count * 86_400_000);
  const foreign = `model.${'0'.repeat(16)}-1-1.${randomUUID()}.partial`;
  const ages = { [foreign]: 2, 'packs.work': 29, 'commit.partial': 31, finished: 400 };
  for (const [name, age] of Object.entries(ages)) {
    mkdirSync(path.join(folder, name));
    utimesSync(path.join(folder, name), days(age), days(age));
  }
  await removeAbandoned(folder);
  expect(readdirSync(folder).sort()).toEqual(['finished', 'packs.work']);
});
