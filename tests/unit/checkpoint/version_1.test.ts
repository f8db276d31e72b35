/** The log, files and metrics of a run that commit c64f28a trained. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  loadNewestSound,
  newestSound,
  openCheckpoint,
  readLog,
  takeGeneration,
} from '../../../components/checkpoint/index.js';
import type { Storage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { newRun, newSaver, save } from './fixture.js';

const root = temporaryFolder();
const goldens = path.resolve(import.meta.dirname, '../../../../tests/unit/checkpoint/goldens/version_1');
const file = 'g2/step-00000006/rank-00000-of-00001.safetensors';

async function copyVersion1Run(): Promise<Storage & { folder: string }> {
  const storage = await newRun(root);
  cpSync(goldens, storage.folder, { recursive: true });
  return storage;
}

test('every entry of a version 1 log is read as an entry of version 2', async () => {
  const kinds = [];
  for await (const { entry, damage } of readLog(await copyVersion1Run())) {
    expect(damage).toBeNull();
    kinds.unshift([entry!.version, entry!.kind, entry!.generation]);
  }
  expect(kinds).toEqual([
    [2, 'generation', 1],
    [2, 'checkpoint', 1],
    [2, 'checkpoint', 1],
    [2, 'retirement', 1],
    [2, 'generation', 2],
    [2, 'checkpoint', 2],
    [2, 'retirement', 2],
  ]);
});

test('the newest checkpoint of a version 1 log is loaded whole, with the role of each tensor', async () => {
  const storage = await copyVersion1Run();
  let bytes = 0;
  const { entry, damage } = await loadNewestSound(storage, async (checkpoint) => {
    await checkpoint.stream((_, __, chunk) => {
      bytes += chunk.length;
    });
  });
  expect([entry?.trainer.step, damage, bytes]).toEqual([6, [], 1920]);
  const roles = Object.entries(entry!.tensors).map(([name, { role }]) => [/^[mv]:/.test(name), role]);
  expect(roles.filter(([isMoment, role]) => isMoment === (role === 'optimizer'))).toHaveLength(12);
});

test('any rows of a version 1 checkpoint can be read, and a flipped byte is detected in each read', async () => {
  const storage = await copyVersion1Run();
  const { entry } = await newestSound(storage);
  const name = Object.keys(entry!.tensors).find(
    (tensor) => tensor.startsWith('m:') && tensor.includes('lora_B'),
  )!;
  const checkpoint = await openCheckpoint(storage, entry!);
  const rows = await checkpoint.readRows(name, 0, 24);
  expect((await checkpoint.readRows(name, 3, 5)).equals(rows.subarray(24, 40))).toBe(true);
  const bytes = readFileSync(path.join(storage.folder, file));
  bytes[bytes.indexOf(rows)]! ^= 1;
  writeFileSync(path.join(storage.folder, file), bytes);
  await expect(checkpoint.readRows(name, 3, 5)).rejects.toThrow(`tensor '${name}', block 0`);
});

test('a generation of version 2 saves into a version 1 log and retires its checkpoints', async () => {
  const storage = await copyVersion1Run();
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  expect(generation).toBe(3);
  const { entry: resumedFrom } = await newestSound(storage);
  const saver = await newSaver(storage, { generation, resumedFrom, keepLast: 1 });
  await save(saver, 6);
  expect(await storage.size(file)).not.toBeNull();
  await save(saver, 7);
  expect(await storage.size(file)).toBeNull();
  const { entry, damage } = await newestSound(storage);
  expect([entry?.trainer.step, damage]).toEqual([7, []]);
});
