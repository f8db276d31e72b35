import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { StorageError } from '../../../shared/errors.js';
import { openRuntimeFolder } from '../../../workers/host/runtime_folder.js';

let parent: string;
let folder: string;
beforeEach(() => {
  parent = mkdtempSync(path.join(tmpdir(), 'temper-runtime-'));
  folder = path.join(parent, 'runtime');
});
afterEach(() => rmSync(parent, { recursive: true }));

const open = () => openRuntimeFolder({ TEMPER_RUNTIME: folder });

test("the runtime folder is the user's own in /tmp, whatever XDG_RUNTIME_DIR and TEMPER_CACHE are", async () => {
  const environment = { XDG_RUNTIME_DIR: parent, TEMPER_CACHE: parent };
  expect(await openRuntimeFolder(environment)).toBe(`/tmp/temper-${process.getuid!()}`);
});

test('a runtime folder that is created is readable only for its user, and can be opened again', async () => {
  expect(await open()).toBe(folder);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(await open()).toBe(folder);
});

test('a link in place of the runtime folder is refused', async () => {
  const target = path.join(parent, 'elsewhere');
  mkdirSync(target, { mode: 0o700 });
  symlinkSync(target, folder);
  await expect(open()).rejects.toThrow(`${folder}: is not a folder (links are refused)`);
  expect(existsSync(path.join(target, 'hosts'))).toBe(false);
});

test('a runtime folder that other users may access is refused', async () => {
  mkdirSync(folder);
  chmodSync(folder, 0o770);
  await expect(open()).rejects.toThrow(`${folder}: other users may access it (mode 770)`);
});

const asRoot = process.getuid!() === 0 ? test : test.skip;

asRoot('a runtime folder of another user is refused', async () => {
  mkdirSync(folder, { mode: 0o700 });
  chownSync(folder, 65534, 65534);
  await expect(open()).rejects.toThrow(`${folder}: belongs to user 65534, not 0`);
});

test('a runtime folder that cannot be created is named', async () => {
  const attempt = openRuntimeFolder({ TEMPER_RUNTIME: '/proc/temper' });
  await expect(attempt).rejects.toBeInstanceOf(StorageError);
  await expect(attempt).rejects.toThrow('/proc/temper: cannot be created');
});
