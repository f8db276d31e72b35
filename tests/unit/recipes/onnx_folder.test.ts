/** The files of an exported model: where bytes lie, and what is refused. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { locateWeights, type Model, openModel } from '../../../components/models/index.js';
import {
  genaiConfigJson,
  type OnnxExport,
  type OnnxFile,
  onnxConfigJson,
  onnxFiles,
} from '../../../recipes/index.js';
import { folderSources } from '../../../recipes/llm/onnx/folder_weights.js';
import type { SafetensorsSource } from '../../../shared/safetensors/safetensors.js';
import { golden } from '../../support/goldens.js';
import { type ReadTensor, readOnnx } from '../graph/onnx_schema.js';

const folder = golden('models', 'gqa_tied_bf16');
let model: Model;
let tensors: SafetensorsSource[];
beforeAll(async () => {
  model = await openModel(folder);
  tensors = folderSources(await locateWeights(folder, model), null);
});

async function bytesOf(file: OnnxFile): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.content()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function initializers(options: Partial<OnnxExport> = {}): Promise<ReadTensor[]> {
  const file = onnxFiles({ model, tensors, precision: 'fp32', ...options }).at(-1)!;
  return readOnnx(await bytesOf(file)).graph.initializer;
}

/** bfloat16 from the file of the golden, widened. */
async function expectedTable(): Promise<Float32Array> {
  const file = await readFile(path.join(folder, 'model.safetensors'));
  const header = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE())).toString()) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const [from, to] = header['model.embed_tokens.weight']!.data_offsets;
  const data = file.subarray(8 + Number(file.readBigUInt64LE()) + from).subarray(0, to - from);
  return Float32Array.from({ length: data.length / 2 }, (_, i) => {
    const bits = Buffer.alloc(4);
    bits.writeUInt16LE(data.readUInt16LE(2 * i), 2);
    return bits.readFloatLE();
  });
}

test('each file has the length that it says, in both precisions and apart', async () => {
  for (const options of [{}, { precision: 'fp16' as const }, { inlineBytes: 0 }]) {
    for (const file of onnxFiles({ model, tensors, precision: 'fp32', ...options })) {
      expect((await bytesOf(file)).length).toBe(file.bytes);
    }
  }
});

test('a weight’s values are those of the model’s file', async () => {
  const table = (await initializers()).find(({ name }) => name === 'model.embed_tokens.weight')!;
  const bytes = new Uint8Array(table.raw_data!);
  expect(new Float32Array(bytes.buffer)).toEqual(await expectedTable());
});

test('weights that lie apart begin at pages of their own, and are found where the model says', async () => {
  const [data] = onnxFiles({ model, tensors, precision: 'fp32', inlineBytes: 0 });
  const bytes = await bytesOf(data!);
  const apart = (await initializers({ inlineBytes: 0 })).filter(({ external_data }) => external_data);
  const ranges = apart.map(({ external_data }) => {
    const entry = Object.fromEntries(external_data!.map(({ key, value }) => [key, value]));
    return { location: entry.location, offset: Number(entry.offset), length: Number(entry.length) };
  });
  expect(new Set(ranges.map(({ location }) => location))).toEqual(new Set(['model.onnx_data']));
  expect(ranges.filter(({ offset }) => offset % 4096 !== 0)).toEqual([]);
  const at = ranges[apart.findIndex(({ name }) => name === 'model.embed_tokens.weight')]!;
  const table = new Uint8Array(bytes.subarray(at.offset, at.offset + at.length));
  expect(new Float32Array(table.buffer)).toEqual(await expectedTable());
});

test('chunks that end within an element are put together again', async () => {
  const whole = await initializers();
  const cut = tensors.map((tensor) => ({
    ...tensor,
    async *chunks() {
      for await (const chunk of tensor.chunks())
        for (let at = 0; at < chunk.length; at += 7) yield chunk.subarray(at, at + 7);
    },
  }));
  expect(await initializers({ tensors: cut })).toEqual(whole);
});

test('a source that ends early is named', async () => {
  const short = tensors.map((tensor) =>
    tensor.name === 'model.norm.weight' ? { ...tensor, chunks: () => [new Uint8Array(6)] } : tensor,
  );
  await expect(initializers({ tensors: short })).rejects.toThrow(
    "'model.norm.weight' takes 64 bytes, but its source gave 12",
  );
});

test('a weight that float16 cannot express is named', async () => {
  const large = tensors.map((tensor) =>
    tensor.name === 'model.norm.weight'
      ? {
          ...tensor,
          dtype: 'F32' as const,
          chunks: () => [new Uint8Array(Float32Array.from({ length: 16 }, () => 1e5).buffer)],
        }
      : tensor,
  );
  await expect(initializers({ tensors: large, precision: 'fp16' })).rejects.toThrow(
    "'model.norm.weight' holds 100000, which float16 cannot express",
  );
});

test('transformers.js is told of weights that lie apart, and of no others', () => {
  const apart = onnxFiles({ model, tensors, precision: 'fp16', inlineBytes: 0 });
  const within = onnxFiles({ model, tensors, precision: 'fp32' });
  const config = JSON.parse(onnxConfigJson({ vocab_size: 64 }, [...within, ...apart])) as object;
  const external = { 'model_fp16.onnx': 1 };
  expect(config).toEqual({
    vocab_size: 64,
    'transformers.js_config': { use_external_data_format: external },
  });
  expect(JSON.parse(onnxConfigJson({ vocab_size: 64 }, within))).toEqual({ vocab_size: 64 });
});

test('genai_config.json names the file, the heads and the context', () => {
  const { decoder, ...rest } = (
    JSON.parse(genaiConfigJson(model, 'fp16', {})) as { model: Record<string, unknown> }
  ).model;
  expect(rest).toMatchObject({ type: 'llama', context_length: 64, eos_token_id: 2, vocab_size: 64 });
  expect(decoder).toMatchObject({
    filename: 'onnx/model_fp16.onnx',
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_size: 4,
  });
});

test('genai_config.json takes tokens and sampling from generation_config.json', () => {
  const generation = { eos_token_id: [2, 7], do_sample: true, temperature: 0.6, top_p: 0.9 };
  const { model: described, search } = JSON.parse(genaiConfigJson(model, 'fp32', generation)) as {
    model: object;
    search: object;
  };
  expect(described).toMatchObject({ eos_token_id: [2, 7] });
  expect(search).toMatchObject({ do_sample: true, temperature: 0.6, top_p: 0.9, repetition_penalty: 1 });
});
