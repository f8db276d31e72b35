/** Optimizer steps of the native engine against torch's: losses, gradient norms and final weights. */
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

/** The numbers of the documents in each pack of each micro-batch of a step. */
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

const findCase = (name: string) => cases.find((trainingCase) => trainingCase.name === name)!;
const raggedCases = cases.filter(({ batches }) => batches === 'ragged');

describe.each(raggedCases)(
  '$name with other documents in each step and up to three micro-batches',
  (trainingCase) => {
    let ending: Ending;
    beforeAll(async () => {
      ending = await trainSession(trainingCase, { precision: 'fp32' });
    });

    test('losses and gradient norms are torch’s float32 ones to 1e-4', () => {
      expect(largestDifference(ending.curve, trainingCase.curves.float32)).toBeLessThan(1e-4);
    });

    test('every trained parameter ends where torch’s does', () => expectEnding(trainingCase, ending.tensors));

    test.each(['masked_ce', 'chunked_ce'])('the loss %s takes the same steps', async (loss) => {
      const { curve } = await trainSession(trainingCase, { precision: 'fp32', loss });
      expect(largestDifference(curve, trainingCase.curves.float32)).toBeLessThan(1e-4);
    });

    test('recomputing activations changes no bit', async () => {
      const { curve } = await trainSession(trainingCase, {
        precision: 'fp32',
        activation_checkpointing: 'full',
      });
      expect(curve).toEqual(ending.curve);
    });
  },
);

// A single curve says little, because an early rounding changes all later steps: the steps of all runs are one sample.
test('bfloat16 curves err at most twice as much as torch’s autocast', async () => {
  const [ours, torch] = [emptyCurve(), emptyCurve()];
  for (const trainingCase of raggedCases) {
    const { curve } = await trainSession(trainingCase, { precision: 'bf16' });
    for (const key of ['loss', 'grad_norm'] as const) {
      const relative = (value: number, step: number) => value / trainingCase.curves.float64[key][step]! - 1;
      ours[key].push(...curve[key].map(relative));
      torch[key].push(...trainingCase.curves.bfloat16[key].map(relative));
    }
  }
  const zero = ours.loss.map(() => 0);
  expect(rms(ours.loss, zero)).toBeLessThan(2 * rms(torch.loss, zero));
  expect(rms(ours.grad_norm, zero)).toBeLessThan(2 * rms(torch.grad_norm, zero));
});

describe.each(cases.filter(({ batches }) => batches === 'all'))(
  '$name as a whole run from its files, with every document in each step',
  (trainingCase) => {
    let run: TrainingRun;
    beforeAll(async () => {
      run = await trainRun(trainingCase, { global: 100, micro: 1 });
    });

    test('losses and gradient norms are torch’s float32 ones to 1e-4', async () => {
      expect(largestDifference(await readCurve(run), trainingCase.curves.float32)).toBeLessThan(1e-4);
    });

    test('every trained parameter ends where torch’s does', async () =>
      expectEnding(trainingCase, await readCommittedTensors(run)));
  },
);

describe('the same run in other micro-batches', () => {
  const trainingCase = findCase('sft_adamw');

  test.each([2, 4])('a run with %d packs a micro-batch has the same curve, to rounding', async (size) => {
    const single = await readCurve(await trainRun(trainingCase, { global: 4, micro: 1 }));
    const several = await readCurve(await trainRun(trainingCase, { global: 4, micro: size }));
    expect(largestDifference(several, single)).toBeLessThan(1e-5);
  });
});

const emptyCurve = (): Curve => ({ loss: [], grad_norm: [] });

interface Ending {
  curve: Curve;
  tensors: Map<string, Float32Array>;
}

let runs = 0;

function buildRecipe(
  trainingCase: Case,
  training: Record<string, unknown>,
  batch: { global: number; micro: number },
) {
  const name = `${trainingCase.name}-${runs++}`;
  return {
    name,
    seed: 7,
    model: { name: golden('training', trainingCase.model) },
    ...(trainingCase.adapter !== null && { peft: readPeft(trainingCase.adapter) }),
    data: {
      train: { dataset_type: 'pretokenized', path: documentsFile },
      packed_sequence_size: packedSequenceSize,
      batch_size: batch,
    },
    training: { num_epochs: steps, max_steps: steps, ...trainingCase.training, ...training },
    output_dir: path.join(folder, name),
  };
}

function readPeft(adapter: string) {
  const { r, lora_alpha, use_rslora, target_modules } = readGolden<Record<string, unknown>>(
    'training',
    adapter,
    'adapter_config.json',
  );
  const init_from = golden('training', adapter);
  return { type: 'lora', rank: r, alpha: lora_alpha, rslora: use_rslora, target_modules, init_from };
}

/** Trains on the golden's own batches through the engine's session, as the trainer does. */
async function trainSession(trainingCase: Case, training: Record<string, unknown>): Promise<Ending> {
  const { admitted, model } = await prepareRun(buildRecipe(trainingCase, training, { global: micro, micro }));
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

async function trainRun(trainingCase: Case, batch: { global: number; micro: number }): Promise<TrainingRun> {
  const run = await prepareRun(buildRecipe(trainingCase, { precision: 'fp32' }, batch));
  const trainer = await openTrainer(run);
  try {
    await trainToTheEnd(trainer);
  } finally {
    await trainer.close();
  }
  return run;
}

async function readCurve(run: TrainingRun): Promise<Curve> {
  const lines = await readMetrics(run);
  return { loss: lines.map(({ loss }) => loss!), grad_norm: lines.map(({ grad_norm }) => grad_norm!) };
}

/** Compares each parameter with torch's float64 result, relative to how far training moved it. */
async function expectEnding(trainingCase: Case, tensors: ReadonlyMap<string, Float32Array>): Promise<void> {
  const expected = await readTensors(golden('training', `${trainingCase.name}.safetensors`));
  const initialTensors = await readTensors(golden('training', ...initialFile(trainingCase)));
  const distances = [...expected].map(([name, end]) => {
    const start = initialTensors.get(trainingCase.adapter === null ? name : `base_model.model.${name}`)!;
    return { name, distance: rms(tensors.get(name)!, end) / rms(start, end) };
  });
  expect(distances.filter(({ distance }) => !(distance < 1e-3))).toEqual([]);
}

const initialFile = ({ model, adapter }: Case) =>
  adapter === null ? [model, 'model.safetensors'] : [adapter, 'adapter_model.safetensors'];

/** Returns the largest relative difference of two curves, in loss or gradient norm. */
function largestDifference(a: Curve, b: Curve): number {
  const relative = (x: number[], y: number[]) => x.map((value, i) => Math.abs(value - y[i]!) / y[i]!);
  expect([a.loss.length, a.grad_norm.length]).toEqual([b.loss.length, b.grad_norm.length]);
  return Math.max(...relative(a.loss, b.loss), ...relative(a.grad_norm, b.grad_norm));
}

function rms(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(sum / a.length);
}
