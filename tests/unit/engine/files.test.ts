import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { crc32c, createContext, dequantize, firstNonFinite, ggmlTypes } from '../../../engine/index.js';
import { EngineError } from '../../../shared/errors.js';

const goldens = path.resolve(import.meta.dirname, '../../../../tests/parity/goldens/gguf');
const manifest = JSON.parse(await readFile(path.join(goldens, 'manifest.json'), 'utf8')) as Record<
  string,
  { type: number; elements: number }
>;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-engine-'));
});
afterEach(() => rm(folder, { recursive: true }));

test('every supported ggml type has a golden', () => {
  expect(
    Object.values(manifest)
      .map(({ type }) => type)
      .sort(),
  ).toEqual(Object.keys(ggmlTypes).map(Number).sort());
});

test.each(Object.entries(manifest))(
  'the ggml type %s is unpacked to the bits of gguf-py',
  async (name, { type, elements }) => {
    const output = path.join(folder, 'out');
    const file = path.join(goldens, `${name}.packed`);
    await dequantize({ file, byteOffset: 0, type, elements, output, outputOffset: 0, dtype: 'f32' });
    expect(await readFile(output)).toEqual(await readFile(path.join(goldens, `${name}.f32`)));
  },
);

test('dequantize reads from and writes to any offset of its files', async () => {
  const packed = await readFile(path.join(goldens, 'Q4_1.packed'));
  const file = path.join(folder, 'in');
  const output = path.join(folder, 'out');
  await writeFile(file, Buffer.concat([Buffer.from('header!'), packed]));
  await writeFile(output, 'before');
  const { type, elements } = manifest.Q4_1!;
  await dequantize({ file, byteOffset: 7, type, elements, output, outputOffset: 6, dtype: 'f32' });
  const outputBytes = await readFile(output);
  expect(outputBytes.subarray(0, 6).toString()).toBe('before');
  expect(outputBytes.subarray(6)).toEqual(await readFile(path.join(goldens, 'Q4_1.f32')));
});

test('dequantize refuses a truncated file and writes nothing', async () => {
  const file = path.join(folder, 'in');
  await writeFile(file, await readFile(path.join(goldens, 'Q6_K.packed')));
  await truncate(file, 419);
  const output = path.join(folder, 'out');
  const { type, elements } = manifest.Q6_K!;
  const options = { file, byteOffset: 0, type, elements, output, outputOffset: 0, dtype: 'f32' } as const;
  await expect(dequantize(options)).rejects.toThrow(
    'has 419 bytes, not the 420 from offset 0 that are needed',
  );
  await expect(readFile(output)).rejects.toThrow('ENOENT');
});

test('dequantize refuses hostile types, offsets and sizes', async () => {
  const base = {
    file: path.join(goldens, 'Q8_0.packed'),
    output: path.join(folder, 'out'),
    outputOffset: 0,
    dtype: 'f32',
  } as const;
  await expect(dequantize({ ...base, byteOffset: 0, type: 4, elements: 32 })).rejects.toThrow(
    'unknown ggml type 4; known are',
  );
  await expect(dequantize({ ...base, byteOffset: -1, type: 8, elements: 32 })).rejects.toThrow(EngineError);
  await expect(dequantize({ ...base, byteOffset: 2 ** 52, type: 8, elements: 32 })).rejects.toThrow(
    'has 544 bytes',
  );
  await expect(dequantize({ ...base, byteOffset: 0, type: 8, elements: 2 ** 52 })).rejects.toThrow(
    'has 544 bytes',
  );
  await expect(dequantize({ ...base, byteOffset: 0, type: 8, elements: 33 })).rejects.toThrow(
    'are not whole blocks of 32',
  );
});

test('the first value that is not finite is found', async () => {
  const file = path.join(folder, 'weights');
  const values = new Float32Array(100).fill(1);
  values[70] = Number.NaN;
  values[40] = Number.NEGATIVE_INFINITY;
  await writeFile(file, values);
  expect(await firstNonFinite(file, 0, 'f32', 100)).toBe(40);
  expect(await firstNonFinite(file, 41 * 4, 'f32', 59)).toBe(29);
  expect(await firstNonFinite(file, 71 * 4, 'f32', 29)).toBe(-1);
  await expect(firstNonFinite(file, 4, 'f32', 100)).rejects.toThrow('has 400 bytes');
});

test('a bad TEMPER_THREADS fails the work on files', async () => {
  const file = path.join(folder, 'weights');
  await writeFile(file, Float32Array.of(1, 2, 3, 4));
  const threadsBefore = process.env.TEMPER_THREADS;
  try {
    process.env.TEMPER_THREADS = 'all';
    const refusal = "TEMPER_THREADS is 'all', not a whole number from 1 to 9999";
    await expect(firstNonFinite(file, 0, 'f32', 4)).rejects.toThrow(refusal);
    const options = { file, byteOffset: 0, type: 0, elements: 4, output: path.join(folder, 'out') } as const;
    await expect(dequantize({ ...options, outputOffset: 0, dtype: 'f32' })).rejects.toThrow(refusal);
  } finally {
    if (threadsBefore === undefined) delete process.env.TEMPER_THREADS;
    else process.env.TEMPER_THREADS = threadsBefore;
  }
});

test('a tensor is mapped from a file, even where it is not aligned', async () => {
  const file = path.join(folder, 'weights');
  await writeFile(file, Buffer.concat([Buffer.from('x'), Buffer.from(Float32Array.of(1, 2, 3, 4).buffer)]));
  const engine = createContext({ threads: 1 });
  engine.map('w', file, 5, 'f32', [3]);
  expect(engine.read('w')).toEqual(Float32Array.of(2, 3, 4));
  expect(() => engine.write('w', Float32Array.of(1))).toThrow('mapped from a file and read-only');
  expect(() => engine.map('v', file, 13, 'f32', [2])).toThrow(
    'has 17 bytes, not the 8 from offset 13 that are needed',
  );
  expect(() => engine.map('v', folder, 0, 'f32', [2])).toThrow('is not a regular file');
  engine.close();
});

test('crc32c has its published check value, in one call and in pieces', () => {
  const data = Buffer.from('123456789');
  expect(crc32c(data)).toBe(0xe3069283);
  expect(crc32c(data.subarray(4), crc32c(data.subarray(0, 4)))).toBe(0xe3069283);
});
