/** Exported models in ONNX Runtime, an engine that shares nothing with ours, against transformers and the native engine. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { locateWeights, openModel, resolveModel } from '../../components/models/index.js';
import { readAdapter, readAdapterTensor } from '../../components/peft/index.js';
import { exportModelFolder, type OnnxPrecision, writeOnnx } from '../../recipes/index.js';
import { folderSources } from '../../recipes/llm/onnx/folder_weights.js';
import { type GoldenDocument, golden, goldenModels, readGolden } from '../support/goldens.js';
import { OnnxProcess } from '../support/onnx.js';
import { describeWithFiles, smollm2 } from '../support/task_data.js';
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

async function exportModel(
  model: string,
  adapter: string | null = null,
  precision: OnnxPrecision = 'fp32',
): Promise<string> {
  const target = path.join(folder, String(exports++));
  return (await exportModelFolder(model, adapter, precision, target)).model;
}

const inputIds = (documents: readonly GoldenDocument[]) => documents.map(({ input_ids }) => input_ids);
const exactScores = (documents: readonly GoldenDocument[]) => documents.map(({ float64 }) => float64);

describe.each(goldenModels)('%s', (name) => {
  const documents = readGolden<GoldenDocument[]>('models', name, 'expected.json');
  let model: string;
  beforeAll(async () => {
    model = await exportModel(golden('models', name));
  });
  const score = (how: 'whole' | 'cached' | 'padded') =>
    runtime.score({ model, documents: inputIds(documents), how });

  test('scores are transformers’ to 1e-5', async () => {
    expect(distance(await score('whole'), exactScores(documents))).toBeLessThan(1e-5);
  });

  test('scores are the native engine’s to 1e-5', async () => {
    const native = await scoreDocuments(golden('models', name), documents, 'f32');
    expect(distance(await score('whole'), native)).toBeLessThan(1e-5);
  });

  test('prefill and decoding through the cache give the same scores', async () => {
    expect(distance(await score('cached'), exactScores(documents))).toBeLessThan(1e-5);
  });

  test('a batch padded on the left gives the same scores', async () => {
    expect(distance(await score('padded'), exactScores(documents))).toBeLessThan(1e-5);
  });

  test('float16 errs no more than torch’s bfloat16, which has three bits less', async () => {
    const half = await exportModel(golden('models', name), null, 'fp16');
    const scores = await runtime.score({ model: half, documents: inputIds(documents), how: 'cached' });
    const torch = documents.map(({ bfloat16 }) => bfloat16);
    expect(distance(scores, exactScores(documents))).toBeLessThan(distance(torch, exactScores(documents)));
  });
});

describe.each(['lora', 'rslora'])('the peft adapter %s', (name) => {
  const base = golden('models', 'gqa_tied_bf16');
  const documents = readGolden<GoldenDocument[]>('peft', name, 'expected.json');

  test('scores as in peft when it is merged', async () => {
    const model = await exportModel(base, golden('peft', name));
    const scores = await runtime.score({ model, documents: inputIds(documents), how: 'whole' });
    expect(distance(scores, exactScores(documents))).toBeLessThan(1e-5);
  });

  test('scores as in peft when A and B are inputs, and as the base does when they are 0', async () => {
    const model = await openModel(base);
    const adapter = await readAdapter(golden('peft', name), model.linearModules);
    const adapted = new Set(adapter.modules.map(({ module }) => module));
    const { rank, alpha, rslora } = adapter;
    const onnxFiles = await writeOnnx({
      model,
      tensors: folderSources(await locateWeights(base, model), null),
      precision: 'fp32',
      adapterInputs: { rank, alpha, rslora, dropout: 0, matches: (module) => adapted.has(module) },
      folder: path.join(folder, `inputs-${name}`),
    });
    const extra: Record<string, { shape: number[]; data: number[] }> = {};
    for (const [parameter, { shape }] of adapter.tensors)
      extra[parameter] = { shape, data: [...(await readAdapterTensor(adapter, parameter))] };
    const job = { model: onnxFiles.model, documents: inputIds(documents), how: 'cached' as const };
    expect(distance(await runtime.score({ ...job, extra }), exactScores(documents))).toBeLessThan(1e-5);
    for (const parameter of Object.values(extra)) parameter.data.fill(0);
    const baseScores = await scoreDocuments(base, documents, 'f32');
    expect(distance(await runtime.score({ ...job, extra }), baseScores)).toBeLessThan(1e-5);
  });
});

test('a model with its weights in a separate file scores as transformers does', async () => {
  const base = golden('models', 'mqa_biases');
  const documents = readGolden<GoldenDocument[]>('models', 'mqa_biases', 'expected.json');
  const model = await openModel(base);
  const tensors = folderSources(await locateWeights(base, model), null);
  const target = path.join(folder, 'external');
  const onnxFiles = await writeOnnx({ model, tensors, precision: 'fp32', folder: target, inlineBytes: 0 });
  expect(onnxFiles.data).toBe(path.join(target, 'onnx', 'model.onnx_data'));
  const scores = await runtime.score({
    model: onnxFiles.model,
    documents: inputIds(documents),
    how: 'whole',
  });
  expect(distance(scores, exactScores(documents))).toBeLessThan(1e-5);
});

describeWithFiles(smollm2)(`SmolLM2-135M-Instruct (${smollm2})`, () => {
  const documents = readGolden<GoldenDocument[]>('smollm2', 'expected.json');
  let model: string;
  let source: string;
  beforeAll(async () => {
    source = (await resolveModel(smollm2, { ggufDType: 'f32' })).folder;
    model = await exportModel(source);
  }, 300_000);
  const score = (how: 'whole' | 'cached' | 'padded') =>
    runtime.score({ model, documents: inputIds(documents), how });

  test('scores are transformers’ to 1e-4', async () => {
    expect(distance(await score('whole'), exactScores(documents))).toBeLessThan(1e-4);
  }, 120_000);

  test('scores are the native engine’s to 1e-4', async () => {
    const native = await scoreDocuments(source, documents, 'f32');
    expect(distance(await score('whole'), native)).toBeLessThan(1e-4);
  }, 120_000);

  test('prefill and decoding through the cache give the same scores to 1e-4', async () => {
    expect(distance(await score('cached'), exactScores(documents))).toBeLessThan(1e-4);
  }, 120_000);

  test('a batch padded on the left gives the same scores to 1e-4', async () => {
    expect(distance(await score('padded'), exactScores(documents))).toBeLessThan(1e-4);
  }, 120_000);
});
