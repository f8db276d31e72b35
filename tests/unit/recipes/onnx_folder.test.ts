/** The files of an exported model: where their bytes are, and what is refused. */
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

async function readBytes(file: OnnxFile): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.content()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function readInitializers(options: Partial<OnnxExport> = {}): Promise<ReadTensor[]> {
  const file = onnxFiles({ model, tensors, precision: 'fp32', ...options }).at(-1)!;
  return readOnnx(await readBytes(file)).graph.initializer;
}

/** Returns the bfloat16 table of the golden's file, widened to float32. */
async function readGoldenTable(): Promise<Float32Array> {
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

test('each file of an export has the length that it declares, in both precisions and with external weights', async () => {
  for (const options of [{}, { precision: 'fp16' as const }, { inlineBytes: 0 }]) {
    for (const file of onnxFiles({ model, tensors, precision: 'fp32', ...options })) {
      expect((await readBytes(file)).length).toBe(file.bytes);
    }
  }
});

test('the weights of an export have the values of the model’s file', async () => {
  const table = (await readInitializers()).find(({ name }) => name === 'model.embed_tokens.weight')!;
  const bytes = new Uint8Array(table.raw_data!);
  expect(new Float32Array(bytes.buffer)).toEqual(await readGoldenTable());
});

test('external weights begin at page boundaries, at the offsets that the model gives', async () => {
  const [data] = onnxFiles({ model, tensors, precision: 'fp32', inlineBytes: 0 });
  const bytes = await readBytes(data!);
  const externalTensors = (await readInitializers({ inlineBytes: 0 })).filter(
    ({ external_data }) => external_data,
  );
  const ranges = externalTensors.map(({ external_data }) => {
    const entry = Object.fromEntries(external_data!.map(({ key, value }) => [key, value]));
    return { location: entry.location, offset: Number(entry.offset), length: Number(entry.length) };
  });
  expect(new Set(ranges.map(({ location }) => location))).toEqual(new Set(['model.onnx_data']));
  expect(ranges.filter(({ offset }) => offset % 4096 !== 0)).toEqual([]);
  const range = ranges[externalTensors.findIndex(({ name }) => name === 'model.embed_tokens.weight')]!;
  const table = new Uint8Array(bytes.subarray(range.offset, range.offset + range.length));
  expect(new Float32Array(table.buffer)).toEqual(await readGoldenTable());
});

test('chunks that end within an element are joined', async () => {
  const expected = await readInitializers();
  const recutTensors = tensors.map((tensor) => ({
    ...tensor,
    async *chunks() {
      for await (const chunk of tensor.chunks())
        for (let start = 0; start < chunk.length; start += 7) yield chunk.subarray(start, start + 7);
    },
  }));
  expect(await readInitializers({ tensors: recutTensors })).toEqual(expected);
});

test('a weight whose source ends early is named', async () => {
  const shortTensors = tensors.map((tensor) =>
    tensor.name === 'model.norm.weight' ? { ...tensor, chunks: () => [new Uint8Array(6)] } : tensor,
  );
  await expect(readInitializers({ tensors: shortTensors })).rejects.toThrow(
    "'model.norm.weight' takes 64 bytes, but its source gave 12",
  );
});

test('a weight that float16 cannot express is named', async () => {
  const largeTensors = tensors.map((tensor) =>
    tensor.name === 'model.norm.weight'
      ? {
          ...tensor,
          dtype: 'F32' as const,
          chunks: () => [new Uint8Array(Float32Array.from({ length: 16 }, () => 1e5).buffer)],
        }
      : tensor,
  );
  await expect(readInitializers({ tensors: largeTensors, precision: 'fp16' })).rejects.toThrow(
    "'model.norm.weight' holds 100000, which float16 cannot express",
  );
});

test('config.json tells transformers.js about external weights, and about no others', () => {
  const externalFiles = onnxFiles({ model, tensors, precision: 'fp16', inlineBytes: 0 });
  const inlineFiles = onnxFiles({ model, tensors, precision: 'fp32' });
  const config = JSON.parse(onnxConfigJson({ vocab_size: 64 }, [...inlineFiles, ...externalFiles])) as object;
  const externalCounts = { 'model_fp16.onnx': 1 };
  expect(config).toEqual({
    vocab_size: 64,
    'transformers.js_config': { use_external_data_format: externalCounts },
  });
  expect(JSON.parse(onnxConfigJson({ vocab_size: 64 }, inlineFiles))).toEqual({ vocab_size: 64 });
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
  const { model: genaiModel, search } = JSON.parse(genaiConfigJson(model, 'fp32', generation)) as {
    model: object;
    search: object;
  };
  expect(genaiModel).toMatchObject({ eos_token_id: [2, 7] });
  expect(search).toMatchObject({ do_sample: true, temperature: 0.6, top_p: 0.9, repetition_penalty: 1 });
});
