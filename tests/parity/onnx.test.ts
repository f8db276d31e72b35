/** Exported models in ONNX Runtime, an engine that shares nothing with ours, against transformers and the native engine. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { defaultCache, locateWeights, openModel, resolveModel } from '../../components/models/index.js';
import { readAdapter, readAdapterTensor } from '../../components/peft/index.js';
import { exportModelFolder, type OnnxPrecision, writeOnnx } from '../../recipes/index.js';
import { folderSources } from '../../recipes/llm/onnx/folder_weights.js';
import { type GoldenDocument, golden, goldenModels, readGolden } from '../support/goldens.js';
import { OnnxProcess } from '../support/onnx.js';
import { distance, scoreDocuments } from './score_documents.js';

let runtime: OnnxProcess;
let folder: string;
beforeAll(async () => {
  runtime = new OnnxProcess();
  folder = await mkdtemp(path.join(tmpdir(), 'temper-onnx-'));
});
afterAll(async () => {
  await runtime.stop();
  await rm(folder, { recursive: true, force: true });
});

let exports = 0;

async function exported(
  model: string,
  adapter: string | null = null,
  precision: OnnxPrecision = 'fp32',
): Promise<string> {
  const target = path.join(folder, String(exports++));
  return (await exportModelFolder(model, adapter, precision, target)).model;
}

const idsOf = (documents: readonly GoldenDocument[]) => documents.map(({ input_ids }) => input_ids);
const exactOf = (documents: readonly GoldenDocument[]) => documents.map(({ float64 }) => float64);

describe.each(goldenModels)('%s', (name) => {
  const documents = readGolden<GoldenDocument[]>('models', name, 'expected.json');
  let model: string;
  beforeAll(async () => {
    model = await exported(golden('models', name));
  });
  const score = (how: 'whole' | 'cached' | 'padded') =>
    runtime.score({ model, documents: idsOf(documents), how });

  test('scores are transformers’ to 1e-5', async () => {
    expect(distance(await score('whole'), exactOf(documents))).toBeLessThan(1e-5);
  });

  test('scores are the native engine’s to 1e-5', async () => {
    const native = await scoreDocuments(golden('models', name), documents, 'f32');
    expect(distance(await score('whole'), native)).toBeLessThan(1e-5);
  });

  test('prefill and decoding through the cache give the same', async () => {
    expect(distance(await score('cached'), exactOf(documents))).toBeLessThan(1e-5);
  });

  test('a batch padded on the left gives the same', async () => {
    expect(distance(await score('padded'), exactOf(documents))).toBeLessThan(1e-5);
  });

  test('float16 errs no more than torch’s bfloat16, which has three bits less', async () => {
    const half = await exported(golden('models', name), null, 'fp16');
    const scores = await runtime.score({ model: half, documents: idsOf(documents), how: 'cached' });
    const torch = documents.map(({ bfloat16 }) => bfloat16);
    expect(distance(scores, exactOf(documents))).toBeLessThan(distance(torch, exactOf(documents)));
  });
});

describe.each(['lora', 'rslora'])('the peft adapter %s', (name) => {
  const base = golden('models', 'gqa_tied_bf16');
  const documents = readGolden<GoldenDocument[]>('peft', name, 'expected.json');

  test('scores as in peft when it is merged', async () => {
    const model = await exported(base, golden('peft', name));
    const scores = await runtime.score({ model, documents: idsOf(documents), how: 'whole' });
    expect(distance(scores, exactOf(documents))).toBeLessThan(1e-5);
  });

  test('scores as in peft when A and B are inputs, and as the base does when they are 0', async () => {
    const model = await openModel(base);
    const adapter = await readAdapter(golden('peft', name), model.linearModules);
    const adapted = new Set(adapter.modules.map(({ module }) => module));
    const { rank, alpha, rslora } = adapter;
    const written = await writeOnnx({
      model,
      tensors: folderSources(await locateWeights(base, model), null),
      precision: 'fp32',
      adapterInputs: { rank, alpha, rslora, dropout: 0, matches: (module) => adapted.has(module) },
      folder: path.join(folder, `inputs-${name}`),
    });
    const extra: Record<string, { shape: number[]; data: number[] }> = {};
    for (const [parameter, { shape }] of adapter.tensors)
      extra[parameter] = { shape, data: [...(await readAdapterTensor(adapter, parameter))] };
    const job = { model: written.model, documents: idsOf(documents), how: 'cached' as const };
    expect(distance(await runtime.score({ ...job, extra }), exactOf(documents))).toBeLessThan(1e-5);
    for (const parameter of Object.values(extra)) parameter.data.fill(0);
    const plain = await scoreDocuments(base, documents, 'f32');
    expect(distance(await runtime.score({ ...job, extra }), plain)).toBeLessThan(1e-5);
  });
});

test('weights in a file of their own score as weights within the model', async () => {
  const base = golden('models', 'mqa_biases');
  const documents = readGolden<GoldenDocument[]>('models', 'mqa_biases', 'expected.json');
  const model = await openModel(base);
  const tensors = folderSources(await locateWeights(base, model), null);
  const target = path.join(folder, 'external');
  const written = await writeOnnx({ model, tensors, precision: 'fp32', folder: target, inlineBytes: 0 });
  expect(written.data).toBe(path.join(target, 'onnx', 'model.onnx_data'));
  const scores = await runtime.score({ model: written.model, documents: idsOf(documents), how: 'whole' });
  expect(distance(scores, exactOf(documents))).toBeLessThan(1e-5);
});

const gguf = path.join(defaultCache(), 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf');
const whereFetched = existsSync(gguf) ? describe : describe.skip;

whereFetched(`SmolLM2-135M-Instruct (${gguf})`, () => {
  const documents = readGolden<GoldenDocument[]>('smollm2', 'expected.json');
  let model: string;
  let source: string;
  beforeAll(async () => {
    source = (await resolveModel(gguf, { ggufDType: 'f32' })).folder;
    model = await exported(source);
  }, 300_000);
  const score = (how: 'whole' | 'cached' | 'padded') =>
    runtime.score({ model, documents: idsOf(documents), how });

  test('scores are transformers’ to 1e-4', async () => {
    expect(distance(await score('whole'), exactOf(documents))).toBeLessThan(1e-4);
  }, 120_000);

  test('scores are the native engine’s to 1e-4', async () => {
    const native = await scoreDocuments(source, documents, 'f32');
    expect(distance(await score('whole'), native)).toBeLessThan(1e-4);
  }, 120_000);

  test('prefill and decoding through the cache give the same to 1e-4', async () => {
    expect(distance(await score('cached'), exactOf(documents))).toBeLessThan(1e-4);
  }, 120_000);

  test('a batch padded on the left gives the same to 1e-4', async () => {
    expect(distance(await score('padded'), exactOf(documents))).toBeLessThan(1e-4);
  }, 120_000);
});
