/** Optimizer steps of the native engine against torch's, losses, gradient norms and the weights they end in. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  assembleMicroBatch,
  type MicroBatch,
  type NumberedPack,
} from '../../components/datasets/llm/index.js';
import { learningRate, optimizerInputs } from '../../components/optim/index.js';
import { openRun } from '../../recipes/llm/kind.js';
import type { Recipe } from '../../recipes/llm/recipe.js';
import { openSession } from '../../recipes/llm/train/open_session.js';
import { golden, readGolden } from '../support/goldens.js';
import { readTensors } from '../support/tensors.js';
import {
  openTrainer,
  prepareRun,
  readCommittedTensors,
  readMetrics,
  type TrainingRun,
  trainToTheEnd,
} from '../support/training_run.js';

interface Curve {
  loss: number[];
  grad_norm: number[];
}

interface Case {
  name: string;
  model: string;
  adapter: string | null;
  batches: 'ragged' | 'all';
  training: Record<string, unknown>;
  curves: Record<'float64' | 'float32' | 'bfloat16', Curve>;
}

/** Numbers of documents: in a pack, in a micro-batch, in a step. */
type Step = number[][][];

interface Document {
  input_ids: number[];
  labels: number[];
}

const { steps, packedSequenceSize, micro, ragged, cases } = readGolden<{
  steps: number;
  packedSequenceSize: number;
  micro: number;
  ragged: Step[];
  cases: Case[];
}>('training', 'cases.json');
const documentsFile = golden('training', 'documents.jsonl');

let folder: string;
let documents: Document[];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-parity-'));
  process.env.TEMPER_CACHE = path.join(folder, 'cache');
  documents = (await readFile(documentsFile, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Document);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const named = (name: string) => cases.find((one) => one.name === name)!;
const raggedCases = cases.filter(({ batches }) => batches === 'ragged');

describe.each(raggedCases)('$name, other documents in each step and up to three micro-batches', (one) => {
  let ending: Ending;
  beforeAll(async () => {
    ending = await trainSession(one, { precision: 'fp32' });
  });

  test('losses and gradient norms are torch’s float32 ones to 1e-4', () => {
    expect(furthest(ending.curve, one.curves.float32)).toBeLessThan(1e-4);
  });

  test('every trained parameter ends where torch’s does', () => expectEnding(one, ending.tensors));

  test.each(['masked_ce', 'chunked_ce'])('%s takes the same steps', async (loss) => {
    const { curve } = await trainSession(one, { precision: 'fp32', loss });
    expect(furthest(curve, one.curves.float32)).toBeLessThan(1e-4);
  });

  test('recomputing activations changes no bit', async () => {
    const { curve } = await trainSession(one, { precision: 'fp32', activation_checkpointing: 'full' });
    expect(curve).toEqual(ending.curve);
  });
});

// A single curve says little: a rounding early on sends all later steps elsewhere. So the steps of all runs count as one sample.
test('bfloat16 curves err at most twice as much as torch’s autocast', async () => {
  const [ours, torch] = [emptyCurve(), emptyCurve()];
  for (const one of raggedCases) {
    const { curve } = await trainSession(one, { precision: 'bf16' });
    for (const key of ['loss', 'grad_norm'] as const) {
      const relative = (value: number, step: number) => value / one.curves.float64[key][step]! - 1;
      ours[key].push(...curve[key].map(relative));
      torch[key].push(...one.curves.bfloat16[key].map(relative));
    }
  }
  const zero = ours.loss.map(() => 0);
  expect(rms(ours.loss, zero)).toBeLessThan(2 * rms(torch.loss, zero));
  expect(rms(ours.grad_norm, zero)).toBeLessThan(2 * rms(torch.grad_norm, zero));
});

describe.each(cases.filter(({ batches }) => batches === 'all'))(
  '$name, a whole run from its files, every document in each step',
  (one) => {
    let run: TrainingRun;
    beforeAll(async () => {
      run = await trainRun(one, { global: 100, micro: 1 });
    });

    test('losses and gradient norms are torch’s float32 ones to 1e-4', async () => {
      expect(furthest(await curveOf(run), one.curves.float32)).toBeLessThan(1e-4);
    });

    test('every trained parameter ends where torch’s does', async () =>
      expectEnding(one, await readCommittedTensors(run)));
  },
);

describe('the same run in other micro-batches', () => {
  const one = named('sft_adamw');

  test.each([2, 4])('%d packs at a time: the same curve to rounding', async (size) => {
    const single = await curveOf(await trainRun(one, { global: 4, micro: 1 }));
    const several = await curveOf(await trainRun(one, { global: 4, micro: size }));
    expect(furthest(several, single)).toBeLessThan(1e-5);
  });
});

const emptyCurve = (): Curve => ({ loss: [], grad_norm: [] });

interface Ending {
  curve: Curve;
  tensors: Map<string, Float32Array>;
}

let runs = 0;

function recipeOf(one: Case, training: Record<string, unknown>, batch: { global: number; micro: number }) {
  const name = `${one.name}-${runs++}`;
  return {
    name,
    seed: 7,
    model: { name: golden('training', one.model) },
    ...(one.adapter !== null && { peft: peftOf(one.adapter) }),
    data: {
      train: { dataset_type: 'pretokenized', path: documentsFile },
      packed_sequence_size: packedSequenceSize,
      batch_size: batch,
    },
    training: { num_epochs: steps, max_steps: steps, ...one.training, ...training },
    output_dir: path.join(folder, name),
  };
}

function peftOf(adapter: string) {
  const { r, lora_alpha, use_rslora, target_modules } = readGolden<Record<string, unknown>>(
    'training',
    adapter,
    'adapter_config.json',
  );
  const init_from = golden('training', adapter);
  return { type: 'lora', rank: r, alpha: lora_alpha, rslora: use_rslora, target_modules, init_from };
}

/** The golden's own batches through the engine's session, as the trainer drives it. */
async function trainSession(one: Case, training: Record<string, unknown>): Promise<Ending> {
  const { admitted, model } = await prepareRun(recipeOf(one, training, { global: micro, micro }));
  const run = await openRun(admitted.run);
  const { optimizer, lr_scheduler, learning_rate, clip_grad_norm }: Recipe['training'] = run.recipe.training;
  const session = await openSession(run, model.folder, 'cpu:0');
  const curve = emptyCurve();
  try {
    for (const [index, step] of ragged.entries()) {
      const batches = step.map(microBatch);
      const supervised = batches.reduce((sum, batch) => sum + batch.supervised, 0);
      const { loss, norm } = await session.gradients(batches, 1 / supervised, index + 1);
      const rate = learningRate(lr_scheduler, learning_rate, index + 1, steps);
      await session.update(optimizerInputs(optimizer, index + 1, rate, clip_grad_norm));
      curve.loss.push(loss);
      curve.grad_norm.push(norm);
    }
    return { curve, tensors: (await session.snapshot()).tensors as Map<string, Float32Array> };
  } finally {
    session.close();
  }
}

const microBatch = (packs: number[][]): MicroBatch =>
  assembleMicroBatch(packs.map(pack), packedSequenceSize, micro);

function pack(numbers: number[], number: number): NumberedPack {
  const ids = new Int32Array(packedSequenceSize);
  const labels = new Int32Array(packedSequenceSize).fill(-100);
  const starts: number[] = [];
  let [tokens, supervised] = [0, 0];
  for (const document of numbers.map((index) => documents[index]!)) {
    starts.push(tokens);
    ids.set(document.input_ids, tokens);
    labels.set(document.labels, tokens);
    supervised += document.labels.slice(1).filter((label) => label !== -100).length;
    tokens += document.input_ids.length;
  }
  return { number, ids, labels, starts, tokens, supervised };
}

async function trainRun(one: Case, batch: { global: number; micro: number }): Promise<TrainingRun> {
  const run = await prepareRun(recipeOf(one, { precision: 'fp32' }, batch));
  const trainer = await openTrainer(run);
  try {
    await trainToTheEnd(trainer);
  } finally {
    await trainer.close();
  }
  return run;
}

async function curveOf(run: TrainingRun): Promise<Curve> {
  const lines = await readMetrics(run);
  return { loss: lines.map(({ loss }) => loss!), grad_norm: lines.map(({ grad_norm }) => grad_norm!) };
}

/** How far each parameter is from torch's float64 end, as a share of the way it went. */
async function expectEnding(one: Case, tensors: ReadonlyMap<string, Float32Array>): Promise<void> {
  const expected = await readTensors(golden('training', `${one.name}.safetensors`));
  const before = await readTensors(golden('training', ...initialFile(one)));
  const distances = [...expected].map(([name, end]) => {
    const start = before.get(one.adapter === null ? name : `base_model.model.${name}`)!;
    return { name, distance: rms(tensors.get(name)!, end) / rms(start, end) };
  });
  expect(distances.filter(({ distance }) => !(distance < 1e-3))).toEqual([]);
}

const initialFile = ({ model, adapter }: Case) =>
  adapter === null ? [model, 'model.safetensors'] : [adapter, 'adapter_model.safetensors'];

/** Largest relative difference of two curves, in loss or gradient norm. */
function furthest(a: Curve, b: Curve): number {
  const relative = (x: number[], y: number[]) => x.map((value, i) => Math.abs(value - y[i]!) / y[i]!);
  expect([a.loss.length, a.grad_norm.length]).toEqual([b.loss.length, b.grad_norm.length]);
  return Math.max(...relative(a.loss, b.loss), ...relative(a.grad_norm, b.grad_norm));
}

function rms(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(sum / a.length);
}
