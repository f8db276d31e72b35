import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { type LockOptions, unlessLocked, withLock } from '../../../shared/folder_lock.js';
import { ownProcessTag } from '../../../shared/process_identity.js';

let folder: string;
let lock: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'temper-lock-'));
  lock = path.join(folder, 'thing.lock');
});
afterEach(() => rmSync(folder, { recursive: true }));

const options = (change: Partial<LockOptions> = {}): LockOptions => ({
  signal: null,
  onWait: () => undefined,
  staleAfter: 60_000,
  ...change,
});
const uuid = '00000000-0000-0000-0000-000000000000';
const foreignHolder = `${'0'.repeat(16)}-4242-1.${uuid}.node-17.example`;
const hold = (name: string) => {
  mkdirSync(lock);
  writeFileSync(path.join(lock, name), '');
};

test('work under a lock never runs twice at a time, and leaves nothing behind', async () => {
  let running = 0;
  let maxRunning = 0;
  const work = async () => {
    running += 1;
    maxRunning = Math.max(maxRunning, running);
    await new Promise((resolve) => setTimeout(resolve, 5));
    running -= 1;
  };
  await Promise.all(Array.from({ length: 4 }, () => withLock(lock, options(), work)));
  expect(maxRunning).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
});

test('a lock is released when its work fails', async () => {
  const failing = withLock(lock, options(), async () => {
    throw new Error('no luck');
  });
  await expect(failing).rejects.toThrow('no luck');
  expect(readdirSync(folder)).toEqual([]);
});

test('the lock of a process that was killed is taken over by one of many', async () => {
  const module = pathToFileURL(path.resolve('dist/shared/folder_lock.js')).href;
  const code = `const { withLock } = await import(${JSON.stringify(module)});
    const options = { signal: null, onWait() {}, staleAfter: 60000 };
    await withLock(${JSON.stringify(lock)}, options, () => { console.log('held'); return new Promise(() => setInterval(() => {}, 1000)); });`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  expect(await unlessLocked(lock, async () => 'taken')).toBeNull();
  holder.kill('SIGKILL');
  await new Promise((resolve) => holder.once('exit', resolve));
  const takers = Array.from({ length: 8 }, () =>
    unlessLocked(lock, async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return 'taken';
    }),
  );
  expect((await Promise.all(takers)).filter((result) => result !== null)).toEqual(['taken']);
  expect(readdirSync(folder)).toEqual([]);
});

test('an empty lock, as a killed release leaves it, is free', async () => {
  mkdirSync(lock);
  expect(await withLock(lock, options(), async () => 'done')).toBe('done');
});

test('the lock of another host is taken over when it is no longer renewed', async () => {
  hold(foreignHolder);
  expect(await withLock(lock, options({ staleAfter: 300 }), async () => 'done')).toBe('done');
  expect(readdirSync(folder)).toEqual([]);
});

test('the lock of another host is waited for while it is renewed, with a notice that names its holder', async () => {
  hold(foreignHolder);
  const renewal = setInterval(() => {
    const now = new Date();
    utimes(path.join(lock, foreignHolder), now, now).catch(() => undefined);
  }, 50);
  const notices: string[] = [];
  let isDone = false;
  const work = withLock(
    lock,
    options({ staleAfter: 500, onWait: (text) => notices.push(text) }),
    async () => {
      isDone = true;
    },
  );
  while (notices.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(notices).toEqual([`waiting for process 4242 on node-17.example, which holds ${lock}`]);
  expect(isDone).toBe(false);
  clearInterval(renewal);
  await work;
  expect(isDone).toBe(true);
});

test('waiting for a lock ends when it is cancelled', async () => {
  hold(`${ownProcessTag()}.${uuid}.here`);
  const controller = new AbortController();
  const work = withLock(lock, options({ signal: controller.signal }), async () => undefined);
  controller.abort(new Error('cancelled'));
  await expect(work).rejects.toThrow('cancelled');
});

test('a lock in a folder that cannot be written to fails at once and names it', async () => {
  const impossible = path.join(folder, 'file', 'thing.lock');
  writeFileSync(path.join(folder, 'file'), '');
  await expect(withLock(impossible, options(), async () => undefined)).rejects.toThrow(
    `${impossible}: cannot be locked`,
  );
});
