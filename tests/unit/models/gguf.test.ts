import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { llama } from '../../../components/models/families/llama.js';
import {
  checkFinite,
  type GgufFile,
  locateWeights,
  openModel,
  parseGguf,
  resolveModel,
  tokenizerFromGguf,
} from '../../../components/models/index.js';
import { firstNonFinite } from '../../../engine/index.js';
import { partialName } from '../../../shared/files.js';
import { ownProcessTag } from '../../../shared/process_identity.js';
import { readSafetensorsHeader } from '../../../shared/safetensors/safetensors.js';
import { golden } from '../../support/goldens.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-gguf-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: bigint | number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const entry = (name: string, dims: number[], type: number, offset: number) =>
  Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)]);

/** Returns a GGUF file of version 3 with these metadata entries and tensors, and `dataBytes` zeros after them. */
function gguf({
  keys = [] as Buffer[],
  tensors = [] as Buffer[],
  dataBytes = 0,
  version = 3,
  counts = null as [bigint, bigint] | null,
}): Buffer {
  const [tensorCount, keyCount] = counts ?? [BigInt(tensors.length), BigInt(keys.length)];
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(version),
    u64(tensorCount),
    u64(keyCount),
    ...keys,
    ...tensors,
  ]);
  return Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32), Buffer.alloc(dataBytes)]);
}

describe('a GGUF file', () => {
  const cases: [string, Buffer, RegExp][] = [
    ['of another format', Buffer.from('PK\u0003\u0004 and more bytes'), /not a GGUF file/],
    ['that is empty', Buffer.alloc(0), /ends while the magic is read/],
    ['of version 1', gguf({ version: 1 }), /version 1 is not supported/],
    ['of the other byte order', gguf({ version: 0x03000000 }), /version 50331648 is not supported/],
    [
      'with an absurd number of tensors',
      gguf({ counts: [2n ** 40n, 0n] }),
      /the number of tensors, 1099511627776, is more than the file has room for/,
    ],
    ['with an absurd number of keys', gguf({ counts: [0n, 2n ** 63n] }), /absurdly large/],
    [
      'with a key longer than the file',
      gguf({ counts: [0n, 1n], dataBytes: 64, keys: [u64(2 ** 30)] }),
      /is more than the file has room for/,
    ],
    [
      'with a key twice',
      gguf({ keys: [text('a'), u32(4), u32(1), text('a'), u32(4), u32(1)], counts: [0n, 2n] }),
      /metadata key "a" occurs twice/,
    ],
    [
      'with an unknown value type',
      gguf({ keys: [Buffer.concat([text('a'), u32(99), u32(1)])] }),
      /metadata a: unknown value type 99/,
    ],
    [
      'with arrays of arrays',
      gguf({ keys: [Buffer.concat([text('a'), u32(9), u32(9), u64(1)])] }),
      /arrays of arrays/,
    ],
    [
      'with an array longer than the file',
      gguf({ keys: [Buffer.concat([text('a'), u32(9), u32(4), u64(2 ** 40)])] }),
      /the length of a, .* room for/,
    ],
    [
      'with a key that is not UTF-8',
      gguf({ keys: [Buffer.concat([u64(2), Buffer.from([0xff, 0xfe]), u32(4), u32(1)])] }),
      /not valid UTF-8/,
    ],
    [
      'with a zero alignment',
      gguf({ keys: [Buffer.concat([text('general.alignment'), u32(4), u32(0)])] }),
      /general.alignment 0 is not a power of two/,
    ],
    [
      'with an unknown tensor type',
      gguf({ tensors: [entry('w', [32], 77, 0)], dataBytes: 128 }),
      /tensor "w": ggml type 77 is not supported; supported: F32/,
    ],
    [
      'with five dimensions',
      gguf({ tensors: [entry('w', [1, 1, 1, 1, 1], 0, 0)], dataBytes: 128 }),
      /tensor "w" has 5 dimensions/,
    ],
    [
      'with rows that are not whole blocks',
      gguf({ tensors: [entry('w', [31, 2], 3, 0)], dataBytes: 128 }),
      /rows of 31 elements do not divide/,
    ],
    [
      'with an absurd shape',
      gguf({ tensors: [entry('w', [2 ** 40, 2 ** 40], 0, 0)], dataBytes: 128 }),
      /absurdly large/,
    ],
    [
      'with a tensor past the end',
      gguf({ tensors: [entry('w', [64], 0, 0)], dataBytes: 128 }),
      /tensor "w": ends at byte .* truncated/,
    ],
    [
      'with a misaligned tensor',
      gguf({ tensors: [entry('w', [4], 0, 4)], dataBytes: 128 }),
      /offset 4 is not a multiple of the alignment/,
    ],
    [
      'with overlapping tensors',
      gguf({ tensors: [entry('v', [16], 0, 0), entry('w', [16], 0, 32)], dataBytes: 128 }),
      /tensor "w" overlaps tensor "v"/,
    ],
    [
      'with a tensor twice',
      gguf({ tensors: [entry('w', [4], 0, 0), entry('w', [4], 0, 32)], dataBytes: 128 }),
      /tensor "w": occurs twice/,
    ],
  ];
  test.each(cases)('%s is refused', async (_, bytes, message) => {
    const file = path.join(folder, 'hostile.gguf');
    await writeFile(file, bytes);
    expect(() => parseGguf(file)).toThrow(message);
    expect(() => parseGguf(file)).toThrow(file);
  });

  test('cut off anywhere in its header is refused, never read past its end', async () => {
    const bytes = await readFile(golden('tokenizers', 'smollm.gguf'));
    const file = path.join(folder, 'cut.gguf');
    await writeFile(file, bytes);
    for (let length = bytes.length - 4096; length > 0; length = Math.floor(length * 0.7)) {
      await truncate(file, length);
      expect(() => parseGguf(file)).toThrow(/truncated|room for|ends while/);
    }
  });
});

describe('GGUF metadata', () => {
  const model = (change: Record<string, unknown> = {}): GgufFile => {
    const file = parseGguf(golden('tokenizers', 'smollm.gguf'));
    for (const [key, value] of Object.entries(change)) file.metadata.set(key, value as never);
    return file;
  };

  test('become the config.json that they were made from', async () => {
    expect(await llama.configFromGguf(model())).toMatchObject({
      architectures: ['LlamaForCausalLM'],
      hidden_size: 16,
      num_key_value_heads: 2,
      head_dim: 4,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: true,
      attention_bias: true,
      mlp_bias: false,
      rope_parameters: { rope_type: 'default', rope_theta: 10000 },
    });
  });

  test('with YaRN become rope_parameters', async () => {
    const yarn = {
      'llama.rope.scaling.type': 'yarn',
      'llama.rope.scaling.factor': 4,
      'llama.rope.scaling.original_context_length': 16,
    };
    expect(await llama.configFromGguf(model(yarn))).toMatchObject({
      rope_parameters: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 16 },
    });
  });

  test('of a mixture of experts are refused', async () => {
    await expect(llama.configFromGguf(model({ 'llama.expert_count': 8 }))).rejects.toThrow(
      /mixtures of experts/,
    );
  });

  test('of an unknown pre-tokenizer are refused, and the error lists the known ones', () => {
    expect(() => tokenizerFromGguf(model({ 'tokenizer.ggml.pre': 'martian' }))).toThrow(
      /"martian" is not supported; supported: default, gpt-2, smollm/,
    );
  });

  test('of an unknown kind of tokenizer are refused', () => {
    expect(() => tokenizerFromGguf(model({ 'tokenizer.ggml.model': 'bert' }))).toThrow(
      /"bert" is not supported; supported: gpt2, llama/,
    );
  });

  test('of a special token beyond the vocabulary are refused', () => {
    expect(() => tokenizerFromGguf(model({ 'tokenizer.ggml.eos_token_id': 1e6 }))).toThrow(
      /eos_token_id 1000000 is beyond the vocabulary/,
    );
  });
});

describe('resolving a .gguf file', () => {
  test('gives the weights that it was made from, with the rows of q and k in their original order', async () => {
    const cache = path.join(folder, 'cache');
    const model = await resolveModel(golden('tokenizers', 'smollm.gguf'), { cache });
    const source = golden('tokenizers', 'smollm.safetensors');
    const header = await readSafetensorsHeader(source);
    const sourceBytes = await readFile(source);
    for (const [name, { byteOffset, byteLength }] of header.tensors) {
      const weight = model.weights.get(name)!;
      const bytes = await readFile(weight.file);
      expect([
        name,
        bytes
          .subarray(weight.byteOffset, weight.byteOffset + byteLength)
          .equals(sourceBytes.subarray(byteOffset, byteOffset + byteLength)),
      ]).toEqual([name, true]);
    }
  });

  test('finds the folder in the cache the second time', async () => {
    const cache = path.join(folder, 'cache-twice');
    const firstModel = await resolveModel(golden('tokenizers', 'tekken.gguf'), { cache });
    let conversions = 0;
    const secondModel = await resolveModel(golden('tokenizers', 'tekken.gguf'), {
      cache,
      onProgress: () => conversions++,
    });
    expect(secondModel.folder).toBe(firstModel.folder);
    expect(conversions).toBe(0);
    expect(await readdir(path.join(cache, 'gguf'))).toHaveLength(1);
  });

  test('twice at the same time publishes one sound folder and nothing else', async () => {
    const cache = path.join(folder, 'cache-race');
    const file = golden('tokenizers', 'gpt-2.gguf');
    const [a, b] = await Promise.all([resolveModel(file, { cache }), resolveModel(file, { cache })]);
    expect(a.folder).toBe(b.folder);
    expect(await readdir(path.join(cache, 'gguf'))).toEqual([path.basename(a.folder)]);
  });

  test('removes the partial folder of a killed conversion, but not of one that runs', async () => {
    const cache = path.join(folder, 'cache-killed');
    const home = path.join(cache, 'gguf');
    const [scope] = ownProcessTag().split('-');
    const endedPid = spawnSync('true').pid;
    const abandoned = path.join(home, `model.${scope}-${endedPid}-1.${randomUUID()}.partial`);
    const active = partialName(path.join(home, 'model'));
    for (const partial of [abandoned, active]) await mkdir(partial, { recursive: true });
    const { folder: converted } = await resolveModel(golden('tokenizers', 'gpt-2.gguf'), { cache });
    expect((await readdir(home)).sort()).toEqual(
      [converted, active].map((entry) => path.basename(entry)).sort(),
    );
  });

  test('lists a missing tensor, and leaves nothing in the cache', async () => {
    const cache = path.join(folder, 'cache-missing');
    const file = path.join(folder, 'missing.gguf');
    const bytes = await readFile(golden('tokenizers', 'smollm.gguf'));
    const nameOffset = bytes.indexOf('blk.1.ffn_up.weight');
    bytes.write('blk.1.ffn_xx.weight', nameOffset);
    await writeFile(file, bytes);
    await expect(resolveModel(file, { cache })).rejects.toThrow(
      /unexpected: blk.1.ffn_xx.weight\n {2}missing: the tensor that becomes model.layers.1.mlp.up_proj.weight/,
    );
    expect(await readdir(cache)).toEqual(['digests']);
  });

  test.each([
    ['./nowhere', /nowhere: no such folder$/],
    ['nowhere.gguf', /no such file/],
    ['s3://bucket/models/a', /s3:\/\/bucket\/models\/a: .* not from s3:\/\/; copy it to this machine/],
    ['not an id', /no such folder, and not a Hugging Face id/],
  ])('refuses the name %s', async (name, message) => {
    await expect(resolveModel(name, { cache: folder })).rejects.toThrow(message);
  });
});

test('weights that do not fit their config are listed by name, all of them', async () => {
  const source = golden('models', 'gqa_tied_bf16');
  const model = await openModel(source, { num_hidden_layers: 3, intermediate_size: 32 });
  await expect(locateWeights(source, model)).rejects.toThrow(
    /gate_proj.weight: shape \[24,16\], but the config makes it \[32,16\][\s\S]*missing: model.layers.2.input_layernorm.weight/,
  );
  const smaller = await openModel(source, { num_hidden_layers: 1 });
  await expect(locateWeights(source, smaller)).rejects.toThrow(/unexpected: model.layers.1/);
});

test('a weight that is not finite is named, with its location', async () => {
  const target = path.join(folder, 'damaged');
  cpSync(golden('models', 'explicit_head_dim'), target, { recursive: true });
  const model = await openModel(target);
  const weights = await locateWeights(target, model);
  const { file, byteOffset } = weights.get('model.layers.1.mlp.up_proj.weight')!;
  await expect(checkFinite(weights, firstNonFinite)).resolves.toBeUndefined();
  const bytes = await readFile(file);
  bytes.writeFloatLE(Number.NaN, byteOffset + 4 * 17);
  await writeFile(file, bytes);
  await expect(checkFinite(weights, firstNonFinite)).rejects.toThrow(
    /damaged\n {2}model.layers.1.mlp.up_proj.weight: element 17 is not finite/,
  );
});
