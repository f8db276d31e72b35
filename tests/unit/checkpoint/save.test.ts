import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { newestSound, takeGeneration, writeHistory } from '../../../components/checkpoint/index.js';
import { FencedError, ServiceUnavailable } from '../../../shared/errors.js';
import { openStorage, type Storage } from '../../../shared/storage/index.js';
import { mountingTest, mountTmpfs } from '../../support/small_disk.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { closeJournals, newRun, newSaver, save, tensorsAt, trainerState } from './fixture.js';

const root = temporaryFolder();

function listSteps(folder: string, generation: number): string[] {
  const generationFolder = path.join(folder, `g${generation}`);
  return existsSync(generationFolder) ? readdirSync(generationFolder).sort() : [];
}

test('a second save of one step writes no tensors again but has the new trainer state', async () => {
  const storage = await newRun(root);
  const saver = await newSaver(storage);
  const firstCommit = await save(saver, 10);
  const secondCommit = await save(saver, 10, { metric: 'val_loss', value: 1, step: 10, misses: 0 });
  expect(secondCommit.files).toEqual(firstCommit.files);
  expect((await newestSound(storage)).entry?.trainer.best?.value).toBe(1);
});

test('begin returns while the save is under way, and the next begin waits for it', async () => {
  const storage = await newRun(root);
  const saver = await newSaver(storage);
  const firstSave = await saver.begin({ trainer: trainerState(1), tensors: tensorsAt(1) });
  expect(saver.saving).toBe(true);
  await saver.begin({ trainer: trainerState(2), tensors: tensorsAt(2) });
  expect((await firstSave.committed).trainer.step).toBe(1);
  await saver.settle();
  expect(saver.last?.trainer.step).toBe(2);
});

test('an overtaken saver throws FencedError once, and leaves no file', async () => {
  const storage = await newRun(root);
  const saver = await newSaver(storage);
  await save(saver, 1);
  await takeGeneration(storage, { holder: 'pool.other.1', worldSize: 1 });
  await saver.begin({ trainer: trainerState(2), tensors: tensorsAt(2) });
  await expect(saver.settle()).rejects.toThrow(FencedError);
  await saver.settle();
  expect(listSteps(storage.folder, 1)).toEqual(['step-00000001']);
});

test('a commit whose answer is lost keeps its files, although another host has taken a generation meanwhile', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const unreliableStorage = loseAnswers(storage, async () => {
    await takeGeneration(storage, { holder: 'pool.other.1', worldSize: 1 });
  });
  const saver = await newSaver(unreliableStorage, { generation });
  const { committed } = await saver.begin({ trainer: trainerState(5), tensors: tensorsAt(5) });
  await committed.catch(() => undefined);
  await saver.settle().catch(() => undefined);
  const { entry, damage } = await newestSound(storage);
  expect(damage).toEqual([]);
  expect(entry?.trainer.step).toBe(5);
});

test('a commit whose answer is lost is found in the log and returned', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const unreliableStorage = loseAnswers(storage, async () => {
    await takeGeneration(storage, { holder: 'pool.other.1', worldSize: 1 });
  });
  const entry = await save(await newSaver(unreliableStorage, { generation }), 5);
  expect(entry.trainer.step).toBe(5);
});

test('a saver lists the log once, however many commits follow', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const prefixes: string[] = [];
  const watchedStorage = watch(storage, 'list', (prefix) => prefixes.push(String(prefix)));
  const saver = await newSaver(watchedStorage, { generation, keepLast: 2 });
  for (let step = 1; step <= 5; step += 1) await save(saver, step);
  expect(prefixes.filter((prefix) => prefix === 'commits/')).toHaveLength(1);
  expect(prefixes.filter((prefix) => prefix === 'g')).toHaveLength(1);
});

test('the last checkpoints and the best one are kept, and the files of the others are removed', async () => {
  const storage = await newRun(root);
  const saver = await newSaver(storage, { keepLast: 2 });
  const best = { metric: 'val_loss', value: 1, step: 2, misses: 0 };
  for (let step = 1; step <= 6; step += 1) await save(saver, step, step < 2 ? null : best);
  expect(listSteps(storage.folder, 1)).toEqual(['step-00000002', 'step-00000005', 'step-00000006']);
  expect((await newestSound(storage)).damage).toEqual([]);
});

test('a checkpoint that an evaluation asks to keep is kept', async () => {
  const storage = await newRun(root);
  const saver = await newSaver(storage, { keepLast: 1 });
  await save(saver, 1);
  await writeHistory(storage, { version: 1, entries: [], keep: [1] });
  for (let step = 2; step <= 4; step += 1) await save(saver, step);
  expect(listSteps(storage.folder, 1)).toEqual(['step-00000001', 'step-00000004']);
});

test('a retired checkpoint is never called damaged', async () => {
  const storage = await newRun(root);
  const saver = await newSaver(storage, { keepLast: 1 });
  for (const step of [1, 2, 3]) await save(saver, step);
  const lastEntry = saver.last!;
  for (const { file } of lastEntry.files) await storage.delete(file);
  const { entry, damage } = await newestSound(storage);
  expect(entry).toBeNull();
  expect(damage.map(({ sequence }) => sequence)).toEqual([lastEntry.sequence]);
});

test('the checkpoints of an older generation are kept until the newer one has committed', async () => {
  const storage = await newRun(root);
  const oldSaver = await newSaver(storage, { keepLast: 1 });
  const resumedFrom = await save(oldSaver, 10);
  const saver = await newSaver(storage, { keepLast: 1, resumedFrom });
  expect((await newestSound(storage)).entry?.trainer.step).toBe(10);
  await save(saver, 11);
  expect(listSteps(storage.folder, 1)).toEqual([]);
  expect(listSteps(storage.folder, 2)).toEqual(['step-00000011']);
});

test('a checkpoint that a resume passed over does not count as one of the last', async () => {
  const storage = await newRun(root);
  const oldSaver = await newSaver(storage, { keepLast: 5 });
  const resumedFrom = await save(oldSaver, 10);
  await save(oldSaver, 20);
  const saver = await newSaver(storage, { keepLast: 2, resumedFrom });
  await save(saver, 12);
  expect(listSteps(storage.folder, 1)).toEqual(['step-00000010']);
  expect(listSteps(storage.folder, 2)).toEqual(['step-00000012']);
});

test('files of a save that was killed are removed by the next generation', async () => {
  const storage = await newRun(root);
  const oldSaver = await newSaver(storage);
  const resumedFrom = await save(oldSaver, 10);
  await storage.write('g1/step-00000020/rank-00000-of-00001.safetensors', Buffer.from('torn'));
  const saver = await newSaver(storage, { resumedFrom });
  await save(saver, 12);
  expect(listSteps(storage.folder, 1)).toEqual(['step-00000010']);
});

test('partial files of older generations, and old ones in the log, are removed', async () => {
  const storage = await newRun(root);
  const oldSaver = await newSaver(storage);
  const resumedFrom = await save(oldSaver, 10);
  const partial = (name: string) => `.${name}.00000000-0000-0000-0000-000000000000.partial`;
  const abandoned = [
    `g1/step-00000010/${partial('rank-00001-of-00002.json')}`,
    `g1/step-00000020/${partial('rank-00000-of-00001.safetensors')}`,
    `commits/${partial('00000003.json')}`,
    partial('run.json'),
  ];
  const underWay = `commits/${partial('00000009.json')}`;
  mkdirSync(path.join(storage.folder, 'g1/step-00000020'));
  for (const file of [...abandoned, underWay]) writeFileSync(path.join(storage.folder, file), 'torn');
  const twoHoursAgo = Date.now() / 1000 - 7200;
  for (const file of abandoned.slice(2))
    utimesSync(path.join(storage.folder, file), twoHoursAgo, twoHoursAgo);
  const saver = await newSaver(storage, { resumedFrom });
  await save(saver, 12);
  expect(abandoned.filter((file) => existsSync(path.join(storage.folder, file)))).toEqual([]);
  expect(existsSync(path.join(storage.folder, underWay))).toBe(true);
  expect(listSteps(storage.folder, 1)).toEqual(['step-00000010']);
});

mountingTest(
  'a save on a full disk fails with a remedy, keeps earlier commits, and works again when there is space',
  async () => {
    const folder = path.join(root, 'small');
    mkdirSync(folder);
    mountTmpfs(folder);
    try {
      const storage = await openStorage(path.join(folder, 'run'), { roots: null });
      const saver = await newSaver(storage);
      await save(saver, 1);
      await storage.write('ballast', Buffer.alloc(980_000));
      const large = {
        name: 'big',
        dtype: 'f32' as const,
        role: 'trained' as const,
        shape: [50_000],
        rows: [0, 50_000] as const,
        data: new Float32Array(50_000),
      };
      await saver.begin({ trainer: trainerState(2), tensors: [large] });
      await expect(saver.settle()).rejects.toThrow(/step-00000002.*the disk is full: free some space/);
      expect(listSteps(path.join(folder, 'run'), 1)).toEqual(['step-00000001']);
      expect((await newestSound(storage)).entry?.trainer.step).toBe(1);
      await storage.delete('ballast');
      await saver.begin({ trainer: trainerState(3), tensors: [large] });
      await saver.settle();
      expect((await newestSound(storage)).entry?.trainer.step).toBe(3);
    } finally {
      await closeJournals();
      execFileSync('umount', [folder]);
    }
  },
);

/** Returns the storage with a fault: each exclusive creation takes effect and then loses its answer. */
function loseAnswers(storage: Storage, meanwhile: () => Promise<void>): Storage {
  return new Proxy(storage, {
    get(target, name) {
      if (name === 'createExclusive') {
        return async (key: string, data: Uint8Array) => {
          await target.createExclusive(key, data);
          await meanwhile();
          throw new ServiceUnavailable('the answer was lost');
        };
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Returns the storage; calls `onCall` with the first argument of each call of one method. */
function watch(storage: Storage, method: keyof Storage, onCall: (argument: unknown) => void): Storage {
  return new Proxy(storage, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      return (...inputs: unknown[]) => {
        if (name === method) onCall(inputs[0]);
        return Reflect.apply(value, target, inputs) as unknown;
      };
    },
  });
}
