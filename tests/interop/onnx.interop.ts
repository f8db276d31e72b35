/** Exported folders, read by Python's ONNX Runtime, onnxruntime-genai and transformers.js, against transformers in PyTorch. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Generator } from '../../components/generation/index.js';
import { locateWeights, openModel, resolveModel } from '../../components/models/index.js';
import { ModelTokenizer } from '../../components/tokenizer/index.js';
import { exportModelFolder, onnxConfigJson, onnxFiles, writeOnnx } from '../../recipes/index.js';
import { folderSources } from '../../recipes/llm/onnx/folder_weights.js';
import { type GoldenDocument, golden, goldenModels, readGolden } from '../support/goldens.js';
import { describeWithFiles, smollm2 } from '../support/task_data.js';
import { largestDifference } from './largest_difference.js';
import { LineProcess } from './line_process.js';
import { type Greedy, installPeer, Peer, root } from './peer.js';

const precisions = ['fp32', 'fp16'] as const;

let peer: Peer;
let onnx: LineProcess;
let javascript: LineProcess;
let folder: string;
beforeAll(async () => {
  peer = Peer.start();
  const python = installPeer('install.sh', 'onnx');
  onnx = new LineProcess('onnx_peer.py', python, [path.join(root, 'tests/interop/onnx_peer.py')]);
  const script = path.join(root, 'tests/interop/transformers_js.mjs');
  javascript = new LineProcess('transformers_js.mjs', process.execPath, [
    script,
    installPeer('install_js.sh'),
  ]);
  folder = await mkdtemp(path.join(tmpdir(), 'temper-onnx-interop-'));
}, 1_200_000);
afterAll(async () => {
  await Promise.all([peer, onnx, javascript].map((process) => process.stop()));
  await rm(folder, { recursive: true, force: true });
});

describe.each(goldenModels)('%s', (name) => {
  const documents = readGolden<GoldenDocument[]>('models', name, 'expected.json').map((row) => row.input_ids);

  test('is sound ONNX in both precisions', async () => {
    for (const precision of precisions) {
      const { model } = await exportModelFolder(golden('models', name), null, precision, target(name));
      expect(await onnx.ask({ job: 'check', model })).toEqual({ opset: { '': 23 } });
    }
  });

  test('scores in Python’s ONNX Runtime as in transformers, to 1e-5', async () => {
    const { model } = await exportModelFolder(golden('models', name), null, 'fp32', target(name));
    const { logprobs } = await onnx.ask<{ logprobs: number[][] }>({ job: 'score', model, documents });
    const peerScores = await peer.score(golden('models', name), documents);
    expect(largestDifference(logprobs, peerScores.logprobs)).toBeLessThan(1e-5);
  }, 60_000);
});

test('transformers.js finds weights in a separate file', async () => {
  const name = 'gqa_tied_bf16';
  const base = golden('models', name);
  const model = await openModel(base);
  const options = { model, tensors: folderSources(await locateWeights(base, model), null), inlineBytes: 0 };
  const out = path.join(folder, 'external');
  await mkdir(out);
  await writeOnnx({ ...options, precision: 'fp32', folder: out });
  const config = JSON.parse(await readFile(path.join(base, 'config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  const files = onnxFiles({ ...options, precision: 'fp32' });
  await writeFile(path.join(out, 'config.json'), onnxConfigJson(config, files));
  const prompts = [[5, 9, 1, 33]];
  const { answers } = await javascript.ask<{ answers: number[][] }>({
    job: 'greedy',
    folder: out,
    dtype: 'fp32',
    prompts,
    tokens: 16,
  });
  expectSameTokens(answers, (await peer.greedy(base, prompts, 16)).answers, model.eosTokenIds[0]);
}, 120_000);

describeWithFiles(smollm2)(`SmolLM2-135M-Instruct (${smollm2})`, () => {
  const tokens = 64;
  const endOfText = 2;
  let base: string;
  let exportFolder: string;
  let prompts: number[][];
  let expected: Greedy[];
  beforeAll(async () => {
    base = (await resolveModel(smollm2, { ggufDType: 'f32' })).folder;
    exportFolder = path.join(folder, 'smollm2');
    for (const precision of precisions) await exportModelFolder(base, null, precision, exportFolder);
    const tokenizer = await ModelTokenizer.load(base);
    prompts = texts.map((text) => tokenizer.encode(text, { addSpecial: false }).ids);
    expected = (await peer.greedy(base, prompts, tokens)).answers;
  }, 600_000);
  const file = (stem: string) => path.join(exportFolder, 'onnx', `${stem}.onnx`);

  test('is sound ONNX in both precisions', async () => {
    for (const stem of ['model', 'model_fp16'])
      expect(await onnx.ask({ job: 'check', model: file(stem) })).toEqual({ opset: { '': 23 } });
  }, 120_000);

  test('scores in Python’s ONNX Runtime as in transformers, to 1e-4', async () => {
    const job = { job: 'score', model: file('model'), documents: prompts };
    const { logprobs } = await onnx.ask<{ logprobs: number[][] }>(job);
    expect(largestDifference(logprobs, (await peer.score(base, prompts)).logprobs)).toBeLessThan(1e-4);
  }, 120_000);

  test('64 greedy tokens in onnxruntime-node are those of transformers', async () => {
    const generator = await Generator.open({
      onnx: file('model'),
      eosTokenIds: [],
      contextLength: 2048,
      threads: 2,
    });
    try {
      const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0, stream: 0 };
      const answers = await generator.generate(
        prompts.map((ids) => ({ ids, maxNewTokens: tokens, sampling })),
      );
      expectSameTokens(
        answers.map(({ ids }) => ids),
        expected,
      );
    } finally {
      await generator.close();
    }
  }, 300_000);

  test('64 greedy tokens in Python’s ONNX Runtime are those of transformers', async () => {
    const job = { job: 'greedy', model: file('model'), prompts, tokens };
    expectSameTokens((await onnx.ask<{ answers: number[][] }>(job)).answers, expected);
  }, 300_000);

  test('greedy tokens in transformers.js are those of transformers', async () => {
    const job = { job: 'greedy', folder: exportFolder, dtype: 'fp32', prompts, tokens };
    expectSameTokens((await javascript.ask<{ answers: number[][] }>(job)).answers, expected, endOfText);
  }, 300_000);

  test('onnxruntime-genai opens the folder and generates the tokens of transformers', async () => {
    // Exported last, so this is what genai_config.json names.
    await exportModelFolder(base, null, 'fp32', exportFolder);
    const job = { job: 'genai', folder: exportFolder, prompts, tokens };
    expectSameTokens((await onnx.ask<{ answers: number[][] }>(job)).answers, expected, endOfText);
  }, 300_000);

  test('transformers.js chats from the float16 file with the folder’s own tokenizer and template', async () => {
    const messages = [
      { role: 'system', content: 'Answer in one sentence.' },
      { role: 'user', content: 'What is the capital of France?' },
    ];
    const job = { job: 'chat', folder: exportFolder, dtype: 'fp16', messages, tokens: 24 };
    expect((await javascript.ask<{ text: string }>(job)).text).toMatch(/Paris/);
  }, 300_000);
});

const texts = [
  'The capital of France is',
  '<|im_start|>user\nWrite a short poem about the sea.<|im_end|>\n<|im_start|>assistant\n',
  'def fibonacci(n):\n',
];

const target = (name: string) => path.join(folder, name);

/** Compares up to the first token whose lead over the second best is below 1e-4, or up to `end` if a reader stops there. */
function expectSameTokens(
  answers: readonly number[][],
  expected: readonly Greedy[],
  end: number | null = null,
): void {
  answers.forEach((ids, i) => {
    const { ids: expectedIds, margins } = expected[i]!;
    const stop = margins.findIndex((margin, j) => margin < 1e-4 || expectedIds[j] === end);
    const compared = stop === -1 ? expectedIds.length : stop;
    expect(compared).toBeGreaterThan(8);
    expect(ids.slice(0, compared)).toEqual(expectedIds.slice(0, compared));
  });
  expect(answers.length).toBe(expected.length);
}
