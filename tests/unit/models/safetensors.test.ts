import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ModelError } from '../../../shared/errors.js';
import {
  layoutSafetensors,
  readSafetensorsHeader,
  readStoredSafetensorsHeader,
  type SafetensorsSource,
  streamSafetensors,
  writeSafetensors,
} from '../../../shared/safetensors/safetensors.js';
import { locateTensors, splitWeights, weightIndexJson } from '../../../shared/safetensors/weight_index.js';
import { openStorage } from '../../../shared/storage/index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let files = 0;
/** Writes a file with this JSON or raw header and `dataBytes` zeros after it. */
async function writeWithHeader(header: unknown, dataBytes: number, declared?: bigint): Promise<string> {
  const json = Buffer.isBuffer(header)
    ? header
    : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(declared ?? BigInt(json.length));
  const file = path.join(folder, `hostile-${files++}.safetensors`);
  await writeFile(file, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
  return file;
}

const f32 = (start: number, end: number, shape = [(end - start) / 4]) => ({
  dtype: 'F32',
  shape,
  data_offsets: [start, end],
});

describe('reading a hostile header', () => {
  const cases: [string, () => Promise<string>, RegExp][] = [
    [
      'a length past the end',
      () => writeWithHeader('{}', 0, 1000n),
      /header of 1000 bytes, but the file has/,
    ],
    ['a length over 100 MB', () => writeWithHeader('{}', 0, 100_000_001n), /more than the format/],
    ['a length of 2^64 − 1', () => writeWithHeader('{}', 0, 0xffff_ffff_ffff_ffffn), /more than the format/],
    [
      'too few bytes',
      async () => {
        const file = await writeWithHeader('{}', 0);
        await truncate(file, 5);
        return file;
      },
      /too few/,
    ],
    [
      'overlapping tensors',
      () => writeWithHeader({ a: f32(0, 8), b: f32(4, 12) }, 12),
      /tensor "b" overlaps tensor "a"/,
    ],
    [
      'a hole between tensors',
      () => writeWithHeader({ a: f32(0, 4), b: f32(8, 12) }, 12),
      /hole of 4 bytes between tensor "a" and tensor "b"/,
    ],
    [
      'an offset past the end',
      () => writeWithHeader({ a: f32(0, 400) }, 8),
      /tensor "a" ends at byte .* truncated/,
    ],
    ['trailing bytes', () => writeWithHeader({ a: f32(0, 4) }, 9), /5 bytes follow the last tensor/],
    [
      'a size that differs from the shape',
      () => writeWithHeader({ a: f32(0, 8, [3]) }, 8),
      /tensor "a": F32 of shape \[3\] takes 12 bytes/,
    ],
    ['an absurd shape', () => writeWithHeader({ a: f32(0, 8, [2 ** 52, 2 ** 52]) }, 8), /absurdly large/],
    ['a negative size', () => writeWithHeader({ a: f32(0, 8, [-2]) }, 8), /shape is not a list of sizes/],
    ['a fractional offset', () => writeWithHeader({ a: f32(0, 4.5, [1]) }, 8), /data_offsets/],
    [
      'an unknown dtype',
      () => writeWithHeader({ a: { ...f32(0, 4), dtype: 'toString' } }, 4),
      /unknown dtype "toString"/,
    ],
    [
      'duplicate names',
      () => writeWithHeader(`{"a":${JSON.stringify(f32(0, 4))},"\\u0061":${JSON.stringify(f32(0, 4))}}`, 4),
      /names "a" twice/,
    ],
    [
      'a duplicate key within a tensor',
      () => writeWithHeader('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
      /names "dtype" twice/,
    ],
    [
      'an unexpected key within a tensor',
      () => writeWithHeader({ a: { ...f32(0, 4), extra: 1 } }, 4),
      /unexpected key "extra"/,
    ],
    ['invalid UTF-8', () => writeWithHeader(Buffer.from([0x7b, 0xff, 0x7d]), 0), /not valid UTF-8/],
    ['invalid JSON', () => writeWithHeader('{"a":', 0), /not valid JSON/],
    ['a header that is a list', () => writeWithHeader('[]', 0), /does not begin with '{'/],
    ['metadata that is not strings', () => writeWithHeader({ __metadata__: { a: 1 } }, 0), /__metadata__/],
  ];
  test.each(cases)('%s is refused', async (_, writeCase, message) => {
    const file = await writeCase();
    const error = await readSafetensorsHeader(file).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(ModelError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toContain(file);
  });
});

test('a tensor named __proto__ is a tensor like any other', async () => {
  const header = await readSafetensorsHeader(
    await writeWithHeader('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
  );
  expect([...header.tensors.keys()]).toEqual(['__proto__']);
});

const source = (
  name: string,
  dtype: SafetensorsSource['dtype'],
  shape: number[],
  fill: number,
): SafetensorsSource => ({
  name,
  dtype,
  shape,
  async *chunks() {
    const { byteLength } = layoutSafetensors([{ name, dtype, shape }]).tensors[0]!;
    for (let offset = 0; offset < byteLength; offset += 3)
      yield new Uint8Array(Math.min(3, byteLength - offset)).fill(fill);
  },
});

describe('writing safetensors', () => {
  const sources = [
    source('b.weight', 'BF16', [2, 3], 1),
    source('a', 'F32', [], 2),
    source('z', 'F32', [5], 3),
    source('1', 'U8', [0], 4),
  ];

  test('gives a file from which each tensor is read with its bytes', async () => {
    const file = path.join(folder, 'written.safetensors');
    const { bytes: byteCount } = await writeSafetensors(file, sources);
    const header = await readSafetensorsHeader(file);
    const bytes = await readFile(file);
    expect(byteCount).toBe(bytes.length);
    expect(header.metadata).toEqual({ format: 'pt' });
    for (const { name, shape, dtype } of sources)
      expect(header.tensors.get(name)).toMatchObject({ shape, dtype });
    const { byteOffset, byteLength } = header.tensors.get('z')!;
    expect(bytes.subarray(byteOffset, byteOffset + byteLength)).toEqual(Buffer.alloc(20, 3));
  });

  test('aligns tensors to their elements and the data to eight bytes', () => {
    const layout = layoutSafetensors(sources);
    expect(layout.header.length % 8).toBe(0);
    expect(layout.tensors.map(({ tensor }) => tensor.name)).toEqual(['a', 'z', 'b.weight', '1']);
    for (const { tensor, byteOffset } of layout.tensors)
      expect(byteOffset % (tensor.dtype === 'F32' ? 4 : 2)).toBe(0);
  });

  test('gives the same file for any order of the sources', () => {
    expect(layoutSafetensors([...sources].reverse()).header).toEqual(layoutSafetensors(sources).header);
  });

  test.each([[3], [9]])(
    'refuses a source that gives %d bytes instead of 4, and leaves nothing behind',
    async (order) => {
      const badSource = {
        name: 'w',
        dtype: 'F32' as const,
        shape: [1],
        chunks: () => [new Uint8Array(order)],
      };
      const filesBefore = await readdir(folder);
      await expect(writeSafetensors(path.join(folder, 'wrong.safetensors'), [badSource])).rejects.toThrow(
        /tensor "w" takes 4 bytes/,
      );
      expect(await readdir(folder)).toEqual(filesBefore);
    },
  );

  test('refuses two tensors of one name', async () => {
    const stream = streamSafetensors([source('a', 'F32', [1], 0), source('a', 'F32', [1], 0)]);
    await expect(stream.next()).rejects.toThrow(/two tensors are named "a"/);
  });
});

test('the header of a stored file is read in ranges, as that of a local file', async () => {
  const file = path.join(folder, 'stored.safetensors');
  const storage = await openStorage(folder, { roots: null });
  await storage.write('stored.safetensors', streamSafetensors([source('a', 'F32', [3], 1)]));
  expect(await readStoredSafetensorsHeader(storage, 'stored.safetensors')).toEqual(
    await readSafetensorsHeader(file),
  );
  await expect(readStoredSafetensorsHeader(storage, 'absent.safetensors')).rejects.toThrow(
    /absent.safetensors: no such object/,
  );
});

describe('a model in several files', () => {
  const tensors = [source('a', 'F32', [10], 1), source('b', 'F32', [10], 2), source('c', 'F32', [20], 3)];

  async function writeModel(target: string): Promise<void> {
    const weightFiles = splitWeights(tensors, 80);
    for (const weightFile of weightFiles)
      await writeSafetensors(path.join(target, weightFile.file), weightFile.tensors);
    await writeFile(path.join(target, 'model.safetensors.index.json'), weightIndexJson(weightFiles));
  }

  test('is split at the limit, with the file names of transformers', () => {
    expect(
      splitWeights(tensors, 80).map(({ file, tensors: fileTensors }) => [
        file,
        fileTensors.map(({ name }) => name),
      ]),
    ).toEqual([
      ['model-00001-of-00002.safetensors', ['a', 'b']],
      ['model-00002-of-00002.safetensors', ['c']],
    ]);
  });

  test('is located through its index', async () => {
    const target = await mkdtemp(path.join(folder, 'indexed-'));
    await writeModel(target);
    const locations = await locateTensors(target);
    expect([...locations].map(([name, { file }]) => [name, path.basename(file)]).sort()).toEqual([
      ['a', 'model-00001-of-00002.safetensors'],
      ['b', 'model-00001-of-00002.safetensors'],
      ['c', 'model-00002-of-00002.safetensors'],
    ]);
  });

  test('an index that points outside its folder is refused', async () => {
    const target = await mkdtemp(path.join(folder, 'outside-'));
    await writeFile(
      path.join(target, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { a: '../x.safetensors' } }),
    );
    await expect(locateTensors(target)).rejects.toThrow(/not a safetensors file of this folder/);
  });

  test('an index that lists a tensor its files lack is refused by name', async () => {
    const target = await mkdtemp(path.join(folder, 'lacking-'));
    await writeModel(target);
    const file = path.join(target, 'model.safetensors.index.json');
    const index = JSON.parse(await readFile(file, 'utf8'));
    index.weight_map.ghost = 'model-00001-of-00002.safetensors';
    await writeFile(file, JSON.stringify(index));
    await expect(locateTensors(target)).rejects.toThrow(/lack: ghost/);
  });

  test('a folder without weights is refused with the file names that were expected', async () => {
    const target = await mkdtemp(path.join(folder, 'empty-'));
    await expect(locateTensors(target)).rejects.toThrow(
      /neither model.safetensors nor model.safetensors.index.json/,
    );
  });
});
