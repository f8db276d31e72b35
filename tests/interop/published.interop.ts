/** Folders that a run publishes, read by transformers and peft: the same weights, the same log-probabilities. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { resolveModel } from '../../components/models/index.js';
import { ModelTokenizer } from '../../components/tokenizer/index.js';
import { consolidate, evaluate, Scorer } from '../../recipes/index.js';
import { golden } from '../support/goldens.js';
import { describeWithFiles, smollm2 } from '../support/task_data.js';
import { openTrainer, prepareRun, quietHooks, trainToTheEnd } from '../support/training_run.js';
import { largestDifference } from './largest_difference.js';
import { LineProcess } from './line_process.js';
import { installPeer, Peer } from './peer.js';

const root = path.resolve(import.meta.dirname, '../../..');
execFileSync('bash', [path.join(root, 'infra/quickstart/fetch_weights.sh')], { stdio: 'ignore' });
const documentsFile = golden('training', 'documents.jsonl');

let peer: Peer;
let onnx: LineProcess;
let folder: string;
let documents: number[][];

beforeAll(async () => {
  peer = Peer.start();
  const script = path.join(root, 'tests/interop/onnx_peer.py');
  onnx = new LineProcess('onnx_peer.py', installPeer('install.sh', 'onnx'), [script]);
  folder = await mkdtemp(path.join(tmpdir(), 'temper-interop-'));
  process.env.TEMPER_CACHE = path.join(folder, 'cache');
  documents = (await readFile(documentsFile, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { input_ids: number[] }).input_ids);
}, 1_200_000);
afterAll(async () => {
  await Promise.all([peer.stop(), onnx.stop()]);
  await rm(folder, { recursive: true, force: true });
});

describe.each(['tied', 'untied'])('full fine-tuning of a model with %s embeddings', (name) => {
  test('final/ loads in transformers and scores the same', async () => {
    const { final } = await publish({ model: { name: golden('training', name) } });
    const peerScores = await peer.score(final, documents);
    expect(peerScores.problems).toEqual({});
    const ours = await score(final, null);
    expect(largestDifference(ours, peerScores.logprobs)).toBeLessThan(1e-5);
    expect(largestDifference(ours, await score(golden('training', name), null))).toBeGreaterThan(0.1);
  }, 120_000);
});

describe.each([
  { name: 'of all linear modules', model: 'untied', peft: { target_modules: 'all-linear', rank: 3 } },
  {
    name: 'of some modules, rsLoRA',
    model: 'tied',
    peft: { target_modules: ['q_proj', '*.1.*.up_proj'], rslora: true },
  },
])('an adapter $name', ({ model, peft }) => {
  let published: Published;
  let base: string;
  beforeAll(async () => {
    base = golden('training', model);
    published = await publish({
      model: { name: base },
      peft: { type: 'lora', rank: 4, ...peft },
      export: { merge_adapter: true },
    });
  }, 120_000);

  test('final/ loads in peft and scores the same', async () => {
    const peerScores = await peer.score(base, documents, published.final);
    const ours = await score(base, published.final);
    expect(largestDifference(ours, peerScores.logprobs)).toBeLessThan(1e-5);
    expect(largestDifference(ours, await score(base, null))).toBeGreaterThan(0.1);
  }, 120_000);

  test('merged/ loads in transformers and scores as the adapter does', async () => {
    const peerScores = await peer.score(published.merged, documents);
    expect(peerScores.problems).toEqual({});
    expect(largestDifference(await score(base, published.final), peerScores.logprobs)).toBeLessThan(1e-5);
  }, 120_000);
});

const lora = { type: 'lora', rank: 4 };

describe.each([
  { name: 'a whole model', peft: null, merge: false },
  { name: 'a merged model', peft: lora, merge: true },
  { name: 'an adapter', peft: lora, merge: false },
])('$name published with its ONNX export as one folder', ({ name, peft, merge }) => {
  const base = golden('training', 'tied');
  let published: Published;
  beforeAll(async () => {
    const section = { merge_adapter: merge, onnx: 'fp32', publish_to: path.join(folder, name) };
    published = await publish({ model: { name: base }, peft, export: section });
  }, 120_000);

  test('loads in transformers and peft and scores the same', async () => {
    const peerScores = await (name === 'an adapter'
      ? peer.score(base, documents, published.union)
      : peer.score(published.union!, documents));
    expect(peerScores.problems).toEqual({});
    expect(largestDifference(await ours(), peerScores.logprobs)).toBeLessThan(1e-5);
  }, 120_000);

  test('scores in Python’s ONNX Runtime as in transformers', async () => {
    const model = path.join(published.union!, 'onnx', 'model.onnx');
    const { logprobs } = await onnx.ask<{ logprobs: number[][] }>({ job: 'score', model, documents });
    expect(largestDifference(await ours(), logprobs)).toBeLessThan(1e-5);
  }, 120_000);

  const ours = () => (peft === null ? score(published.final, null) : score(base, published.final));
});

describeWithFiles(smollm2)(`SmolLM2-135M-Instruct (${smollm2})`, () => {
  let base: string;
  let published: Published;
  let lines: number[][];
  beforeAll(async () => {
    base = (await resolveModel(smollm2)).folder;
    const tokenizer = await ModelTokenizer.load(base);
    lines = texts.slice(0, 4).map((text) => tokenizer.encode(text, { addSpecial: false }).ids);
    published = await publish({
      model: { name: smollm2 },
      peft: { type: 'lora', rank: 8 },
      export: { merge_adapter: true },
    });
  }, 300_000);

  test('its adapter loads in peft and scores the same', async () => {
    const peerScores = await peer.score(base, lines, published.final);
    expect(largestDifference(await score(base, published.final, lines), peerScores.logprobs)).toBeLessThan(
      1e-4,
    );
  }, 300_000);

  test('its merged folder loads in transformers and scores the same', async () => {
    const peerScores = await peer.score(published.merged, lines);
    expect(peerScores.problems).toEqual({});
    expect(largestDifference(await score(published.merged, null, lines), peerScores.logprobs)).toBeLessThan(
      1e-4,
    );
  }, 300_000);

  test.each(['final', 'merged'] as const)(
    'the tokenizer in %s/ loads in transformers and encodes the same',
    async (form) => {
      const tokenizer = await ModelTokenizer.load(base);
      const { ids, decoded } = await peer.tokenize(published[form], texts);
      expect(ids).toEqual(texts.map((text) => tokenizer.encode(text, { addSpecial: false }).ids));
      expect(decoded).toEqual(texts);
    },
    120_000,
  );

  test('its chat template is the one that transformers applies', async () => {
    const messages = [
      { role: 'user', content: 'What is the capital of Italy?' },
      { role: 'assistant', content: 'Rome.' },
    ];
    const { text } = await peer.chat(published.merged, messages);
    const tokenizer = await ModelTokenizer.load(published.merged);
    expect(text).toBe(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: false }));
  }, 120_000);
});

const texts = [
  'The capital of France is Paris. It lies on the river Seine.',
  'def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n',
  '<|im_start|>user\nWhat is the capital of Italy?<|im_end|>\n<|im_start|>assistant\nRome.<|im_end|>\n',
  'Zürich, naïve café — 1,234.5 €',
  'こんにちは、世界！ 😀 👩‍👩‍👧‍👦',
  '  two  spaces\tand\n\n\nlines  ',
];

interface Published {
  final: string;
  merged: string;
  /** The folder of `export.publish_to`. */
  union: string | null;
}

let runs = 0;

/** Trains two epochs over the documents, and publishes. */
async function publish(recipe: Record<string, unknown>): Promise<Published> {
  const name = `run-${runs++}`;
  const run = await prepareRun({
    name,
    data: {
      train: { dataset_type: 'pretokenized', path: documentsFile },
      packed_sequence_size: 64,
      batch_size: { global: 2, micro: 1 },
    },
    training: { precision: 'fp32', learning_rate: 1e-2, num_epochs: 2 },
    output_dir: path.join(folder, name),
    ...recipe,
  });
  const trainer = await openTrainer(run);
  try {
    await trainToTheEnd(trainer);
  } finally {
    await trainer.close();
  }
  const { data, model } = run;
  const evaluation = await evaluate(run.admitted.run, { model, data }, quietHooks);
  const input = { model, data, evaluation };
  const { model: final, published: union } = await consolidate(run.admitted.run, input, quietHooks);
  return { final, merged: path.join(folder, name, 'merged'), union };
}

async function score(model: string, adapter: string | null, rows = documents): Promise<number[][]> {
  const scorer = await Scorer.open(model, { adapter, precision: 'fp32' });
  try {
    return (await scorer.score(rows)).map((row) => [...row]);
  } finally {
    await scorer.close();
  }
}
