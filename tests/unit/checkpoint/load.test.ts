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

async function readContents(checkpoint: Checkpoint): Promise<Record<string, Buffer>> {
  const tensors: Record<string, Buffer> = {};
  for (const [name, { dtype, shape }] of Object.entries(checkpoint.tensors)) {
    tensors[name] = Buffer.alloc(shape.reduce((product, size) => product * size, dtype === 'f32' ? 4 : 2));
  }
  await checkpoint.stream((name, offset, chunk) => {
    tensors[name]!.set(chunk, offset);
  });
  return tensors;
}

function expectedContents(step: number): Record<string, Buffer> {
  return Object.fromEntries(
    tensorsAt(step).map(({ name, data }) => {
      const view = data as ArrayBufferView;
      return [name, Buffer.from(view.buffer, view.byteOffset, view.byteLength)];
    }),
  );
}

function readSidecar(file: string): Sidecar {
  return JSON.parse(readFileSync(file.replace(/safetensors$/, 'json'), 'utf8')) as Sidecar;
}

/** Saves a tensor of rows × 3 split among ranks at `cuts`, each in its own file. */
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

test('a saved checkpoint is loaded with the same bits, from a file named by generation, step and rank', async () => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 200);
  expect(entry.files).toEqual([
    expect.objectContaining({ file: 'g1/step-00000200/rank-00000-of-00001.safetensors' }),
  ]);
  expect(await readContents(await openCheckpoint(storage, entry))).toEqual(expectedContents(200));
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
  expect((await readContents(checkpoint)).w).toEqual(Buffer.from(values.buffer));
  const halves = [await checkpoint.readRows('w', 0, 6), await checkpoint.readRows('w', 6, 11)];
  expect(Buffer.concat(halves)).toEqual(Buffer.from(values.buffer));
});

test('any range of rows can be read, from all the files that hold it', async () => {
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

test('a flipped bit anywhere in a checkpoint is detected, and its tensor is named', async () => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 4);
  const file = path.join(storage.folder, entry.files[0]!.file);
  const sound = readFileSync(file);
  const parts = Object.entries(readSidecar(file).tensors);
  const owner = (byte: number): string | null =>
    parts.find(([, { start, end }]) => byte >= start && byte < end)?.[0] ?? null;
  for (let byte = 0; byte < sound.length; byte += 5) {
    const damaged = Buffer.from(sound);
    damaged[byte]! ^= 1 << (byte % 8);
    writeFileSync(file, damaged);
    const { entry: newest, damage } = await newestSound(storage);
    expect(newest).toBeNull();
    expect(damage).toEqual([expect.objectContaining({ file, tensor: owner(byte) })]);
  }
});

test('a flipped bit is detected while its tensor is loaded', async () => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 4);
  const file = path.join(storage.folder, entry.files[0]!.file);
  const bytes = readFileSync(file);
  bytes[readSidecar(file).tensors.w!.start + 7]! ^= 32;
  writeFileSync(file, bytes);
  const checkpoint = await openCheckpoint(storage, entry);
  await expect(readContents(checkpoint)).rejects.toThrow(
    /rank-00000-of-00001\.safetensors: tensor 'w', block 0: .*CRC-32C/,
  );
  await expect(checkpoint.readRows('w', 0, 4)).rejects.toThrow(DamagedCheckpoint);
});

test.each([
  ['missing', (file: string) => rmSync(file), /the file is missing/],
  ['truncated', (file: string) => truncateSync(file, 100), /has 100 bytes instead of \d+: truncated/],
  ['longer', (file: string) => writeFileSync(file, 'x', { flag: 'a' }), /bytes instead of/],
])(
  'a %s checkpoint file is named, and the load falls back to the checkpoint before',
  async (_, damageFile, problem) => {
    const storage = await newRun(root);
    const saver = await newSaver(storage);
    await save(saver, 10);
    const damagedCommit = await save(saver, 20);
    const key = damagedCommit.files[0]!.file;
    damageFile(path.join(storage.folder, key));
    let contents: Record<string, Buffer> = {};
    const { entry, damage } = await loadNewestSound(storage, async (checkpoint) => {
      contents = await readContents(checkpoint);
    });
    expect(entry?.trainer.step).toBe(10);
    expect(contents).toEqual(expectedContents(10));
    expect(damage).toEqual([
      {
        sequence: damagedCommit.sequence,
        file: path.join(storage.folder, key),
        tensor: null,
        block: null,
        problem: expect.stringMatching(problem),
      },
    ]);
  },
);

test('a flipped byte is detected in any read of its block, and file, tensor and block are named', async () => {
  const storage = await newRun(root);
  // 1 MiB holds 87,381 rows of 12 bytes: the tensor has three blocks, the last one short.
  const rows = 200_000;
  const values = new Float32Array(rows * 3);
  const entry = await saveInParts(storage, values, [0, rows]);
  const file = path.join(storage.folder, entry.files[0]!.file);
  const { start, blockRows, blocks } = readSidecar(file).tensors.w!;
  expect([blockRows, blocks.length]).toEqual([87_381, 3]);
  const bytes = readFileSync(file);
  const damagedRow = 100_000;
  bytes[start + damagedRow * 12]! ^= 64;
  writeFileSync(file, bytes);
  const checkpoint = await openCheckpoint(storage, entry);
  for (const [from, to] of [
    [damagedRow, damagedRow + 1],
    [0, damagedRow + 1],
    [damagedRow + 1, rows],
    [0, rows],
  ]) {
    const attempt = checkpoint.readRows('w', from!, to!);
    await expect(attempt).rejects.toThrow(/rank-00000-of-00001\.safetensors: tensor 'w', block 1: .*CRC-32C/);
  }
  await expect(readContents(checkpoint)).rejects.toThrow(/tensor 'w', block 1/);
  expect((await checkpoint.readRows('w', 0, blockRows)).every((byte) => byte === 0)).toBe(true);
});

test.each([
  ['missing', (file: string) => rmSync(file), /rank-00000-of-00001\.json: the file is missing/],
  ['changed', (file: string) => writeFileSync(file, '{}'), /rank-00000-of-00001\.json: its sha256 is/],
])('a sidecar that is %s is damage', async (_, damageFile, problem) => {
  const storage = await newRun(root);
  const entry = await save(await newSaver(storage), 4);
  damageFile(path.join(storage.folder, entry.files[0]!.file.replace(/safetensors$/, 'json')));
  await expect(openCheckpoint(storage, entry)).rejects.toThrow(problem);
  expect((await newestSound(storage)).entry).toBeNull();
});

test('an error of the loader is passed on, not taken for damage', async () => {
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
