import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  appendCheckpoint,
  type Checkpoint,
  DamagedCheckpoint,
  loadNewestSound,
  mergeRankFiles,
  newestSound,
  openCheckpoint,
  type RankTensor,
  takeGeneration,
  writeRankFile,
} from '../../../components/checkpoint/index.js';
import type { CheckpointEntry, Sidecar } from '../../../contracts/index.js';
import { readSafetensorsHeader } from '../../../shared/safetensors/safetensors.js';
import type { Storage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { digest, newRun, newSaver, save, signature, tensorsAt, trainerState } from './fixture.js';

const root = temporaryFolder();

async function contents(checkpoint: Checkpoint): Promise<Record<string, Buffer>> {
  const tensors: Record<string, Buffer> = {};
  for (const [name, { dtype, shape }] of Object.entries(checkpoint.tensors)) {
    tensors[name] = Buffer.alloc(shape.reduce((product, size) => product * size, dtype === 'f32' ? 4 : 2));
  }
  await checkpoint.stream((name, offset, chunk) => {
    tensors[name]!.set(chunk, offset);
  });
  return tensors;
}

function expected(step: number): Record<string, Buffer> {
  return Object.fromEntries(
    tensorsAt(step).map(({ name, data }) => {
      const view = data as ArrayBufferView;
      return [name, Buffer.from(view.buffer, view.byteOffset, view.byteLength)];
    }),
  );
}

function sidecarOf(file: string): Sidecar {
  return JSON.parse(readFileSync(file.replace(/safetensors$/, 'json'), 'utf8')) as Sidecar;
}

/** The tensor of `rows` × 3, split among ranks at `cuts`, each in its own file. */
async function saveInParts(storage: Storage, values: Float32Array, cuts: number[]): Promise<CheckpointEntry> {
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: cuts.length - 1 });
  const rows = values.length / 3;
  const records = [];
  for (let rank = 0; rank + 1 < cuts.length; rank += 1) {
    const [from, to] = [cuts[rank]!, cuts[rank + 1]!];
    const tensor: RankTensor = {
      name: 'w',
      dtype: 'f32',
      role: 'trained',
      shape: [rows, 3],
      rows: [from, to],
      data: values.slice(from * 3, to * 3),
    };
    const position = { generation, step: 5, rank, worldSize: cuts.length - 1 };
    records.push(await writeRankFile(storage, position, [tensor]));
  }
  return appendCheckpoint(storage, {
    kind: 'checkpoint',
    generation,
    worldSize: cuts.length - 1,
    recipeDigest: digest,
    planDigest: digest,
    resumedFrom: null,
    signatures: [signature],
    reduction: 'tree-1',
    trainer: trainerState(5),
    ...mergeRankFiles(records),
    metrics: null,
  });
}

test('what was saved is loaded bit by bit, under the names of the design', async () => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 200);
  expect(entry.files).toEqual([
    expect.objectContaining({ file: 'g1/step-00000200/rank-00000-of-00001.safetensors' }),
  ]);
  expect(await contents(await openCheckpoint(storage, entry))).toEqual(expected(200));
});

test('a checkpoint file is plain safetensors', async () => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 3);
  const header = await readSafetensorsHeader(path.join(storage.folder, entry.files[0]!.file));
  expect(header.tensors.get('w')).toMatchObject({ dtype: 'F32', shape: [4, 3] });
});

test('a tensor saved by three ranks is loaded whole by one rank and in halves by two', async () => {
  const storage = await newRun(root);
  const values = Float32Array.from({ length: 33 }, (_, i) => i * 1.5);
  const checkpoint = await openCheckpoint(storage, await saveInParts(storage, values, [0, 4, 5, 11]));
  expect((await contents(checkpoint)).w).toEqual(Buffer.from(values.buffer));
  const halves = [await checkpoint.readRows('w', 0, 6), await checkpoint.readRows('w', 6, 11)];
  expect(Buffer.concat(halves)).toEqual(Buffer.from(values.buffer));
});

test('any range of rows is read from whatever files hold it', async () => {
  const storage = await newRun(root);
  const values = Float32Array.from({ length: 30 }, (_, i) => i);
  const checkpoint = await openCheckpoint(storage, await saveInParts(storage, values, [0, 3, 3, 7, 10]));
  for (let from = 0; from <= 10; from += 1) {
    for (let to = from; to <= 10; to += 1) {
      const rows = await checkpoint.readRows('w', from, to);
      expect(rows).toEqual(Buffer.from(values.buffer, from * 12, (to - from) * 12));
    }
  }
  await expect(checkpoint.readRows('w', 5, 11)).rejects.toThrow(/has no rows 5 to 11; it has 10/);
});

test('ranks that leave a gap or overlap are refused before they are committed', async () => {
  const storage = await newRun(root);
  const writeRows = (rank: number, rows: [number, number]) =>
    writeRankFile(storage, { generation: 1, step: 1, rank, worldSize: 2 }, [
      {
        name: 'w',
        dtype: 'f32',
        role: 'trained',
        shape: [4],
        rows,
        data: new Float32Array(rows[1] - rows[0]),
      },
    ]);
  const low = await writeRows(0, [0, 2]);
  expect(() => mergeRankFiles([low, low])).toThrow(/continues at row 0.*end at 2/);
  expect(() => mergeRankFiles([low])).toThrow(/has 4 rows, but the ranks saved 2/);
});

test('a flipped bit anywhere in a checkpoint is found, and the tensor that it hit is named', async () => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 4);
  const file = path.join(storage.folder, entry.files[0]!.file);
  const sound = readFileSync(file);
  const parts = Object.entries(sidecarOf(file).tensors);
  const owner = (byte: number): string | null =>
    parts.find(([, { start, end }]) => byte >= start && byte < end)?.[0] ?? null;
  for (let byte = 0; byte < sound.length; byte += 5) {
    const spoiled = Buffer.from(sound);
    spoiled[byte]! ^= 1 << (byte % 8);
    writeFileSync(file, spoiled);
    const { entry: found, damage } = await newestSound(storage);
    expect(found).toBeNull();
    expect(damage).toEqual([expect.objectContaining({ file, tensor: owner(byte) })]);
  }
});

test('a flipped bit is found while the tensor is loaded', async () => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 4);
  const file = path.join(storage.folder, entry.files[0]!.file);
  const bytes = readFileSync(file);
  bytes[sidecarOf(file).tensors.w!.start + 7]! ^= 32;
  writeFileSync(file, bytes);
  const checkpoint = await openCheckpoint(storage, entry);
  await expect(contents(checkpoint)).rejects.toThrow(
    /rank-00000-of-00001\.safetensors: tensor 'w', block 0: .*CRC-32C/,
  );
  await expect(checkpoint.readRows('w', 0, 4)).rejects.toThrow(DamagedCheckpoint);
});

test.each([
  ['missing', (file: string) => rmSync(file), /the file is missing/],
  ['truncated', (file: string) => truncateSync(file, 100), /has 100 bytes instead of \d+: truncated/],
  ['longer', (file: string) => writeFileSync(file, 'x', { flag: 'a' }), /bytes instead of/],
])('a %s file is named, and the load falls back to the checkpoint before', async (_, spoil, what) => {
  const storage = await newRun(root);
  const saver = await newSaver(storage);
  await save(saver, 10);
  const lost = await save(saver, 20);
  const key = lost.files[0]!.file;
  spoil(path.join(storage.folder, key));
  let loaded: Record<string, Buffer> = {};
  const { entry, damage } = await loadNewestSound(storage, async (checkpoint) => {
    loaded = await contents(checkpoint);
  });
  expect(entry?.trainer.step).toBe(10);
  expect(loaded).toEqual(expected(10));
  expect(damage).toEqual([
    {
      sequence: lost.sequence,
      file: path.join(storage.folder, key),
      tensor: null,
      block: null,
      problem: expect.stringMatching(what),
    },
  ]);
});

test('a flipped byte is found whichever rows are read, and file, tensor and block are named', async () => {
  const storage = await newRun(root);
  // 1 MiB holds 87,381 rows of 12 bytes: the tensor has three blocks, the last one short.
  const rows = 200_000;
  const values = new Float32Array(rows * 3);
  const entry = await saveInParts(storage, values, [0, rows]);
  const file = path.join(storage.folder, entry.files[0]!.file);
  const { start, blockRows, blocks } = sidecarOf(file).tensors.w!;
  expect([blockRows, blocks.length]).toEqual([87_381, 3]);
  const bytes = readFileSync(file);
  const spoiledRow = 100_000;
  bytes[start + spoiledRow * 12]! ^= 64;
  writeFileSync(file, bytes);
  const checkpoint = await openCheckpoint(storage, entry);
  for (const [from, to] of [
    [spoiledRow, spoiledRow + 1],
    [0, spoiledRow + 1],
    [spoiledRow + 1, rows],
    [0, rows],
  ]) {
    const read = checkpoint.readRows('w', from!, to!);
    await expect(read).rejects.toThrow(/rank-00000-of-00001\.safetensors: tensor 'w', block 1: .*CRC-32C/);
  }
  await expect(contents(checkpoint)).rejects.toThrow(/tensor 'w', block 1/);
  expect((await checkpoint.readRows('w', 0, blockRows)).every((byte) => byte === 0)).toBe(true);
});

test.each([
  ['missing', (file: string) => rmSync(file), /rank-00000-of-00001\.json: the file is missing/],
  ['changed', (file: string) => writeFileSync(file, '{}'), /rank-00000-of-00001\.json: its sha256 is/],
])('a sidecar that is %s is damage', async (_, spoil, what) => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 4);
  spoil(path.join(storage.folder, entry.files[0]!.file.replace(/safetensors$/, 'json')));
  await expect(openCheckpoint(storage, entry)).rejects.toThrow(what);
  expect((await newestSound(storage)).entry).toBeNull();
});

test('an error that is no damage is not mistaken for it', async () => {
  const storage = await newRun(root);
  await save(await newSaver(storage), 10);
  const attempt = loadNewestSound(storage, async () => {
    throw new Error('the engine refused');
  });
  await expect(attempt).rejects.toThrow('the engine refused');
});

test('a run without commits has no sound checkpoint and no damage', async () => {
  expect(await newestSound(await newRun(root))).toEqual({ entry: null, damage: [] });
});
