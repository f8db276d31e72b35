/** `temper export` on runs that were trained in this process. */
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { exportRun, type OnnxPrecision, Scorer } from '../../recipes/index.js';
import { UsageError } from '../../shared/errors.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTinyModel } from '../support/tiny_model.js';
import { openTrainer, prepareRun, quietHooks, trainToTheEnd } from '../support/training_run.js';

const folder = temporaryFolder();
const inFolder = (name: string) => path.join(folder, name);

/** Trains four steps, with a checkpoint after each second one, both kept. */
async function train(name: string, peft: object | null): Promise<void> {
  const trainer = await openTrainer(
    await prepareRun({
      name,
      model: { name: inFolder('model') },
      peft,
      data: {
        train: { dataset_type: 'mock', documents: 16, lengths: { min: 16, max: 32 }, vocabulary_size: 256 },
        packed_sequence_size: 64,
        batch_size: { global: 2, micro: 2 },
      },
      training: { precision: 'fp32', learning_rate: 0.01, num_epochs: 100, max_steps: 4 },
      checkpoint: { every_steps: 2, keep_last: 2 },
      output_dir: inFolder(name),
    }),
  );
  await trainToTheEnd(trainer);
  await trainer.close();
}

const exportTo = (
  name: string,
  output: string,
  options: { merge?: boolean; step?: number; onnx?: OnnxPrecision } = {},
) => {
  const { merge = false, step = null, onnx = null } = options;
  return exportRun(
    { outputDir: inFolder(name), output: path.resolve(folder, output), merge, step, onnx },
    quietHooks,
  );
};

async function score(model: string, adapter: string | null = null): Promise<number[]> {
  const scorer = await Scorer.open(model, { adapter, precision: 'fp32' });
  const [logprobs] = await scorer.score([[1, 5, 9, 200, 31, 7, 7, 90]]);
  await scorer.close();
  return [...logprobs!];
}

const distance = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

beforeAll(async () => {
  process.env.TEMPER_CACHE = inFolder('cache');
  await writeTinyModel(inFolder('model'));
  await train('lora', { type: 'lora', rank: 4, alpha: 8 });
  await train('full', null);
}, 60_000);

test('an exported adapter on the base scores as the merged model does, and not as the base', async () => {
  expect(await exportTo('lora', 'adapter')).toMatchObject({
    form: 'adapter',
    step: 4,
    model: inFolder('adapter'),
  });
  expect(await exportTo('lora', 'merged', { merge: true })).toMatchObject({ form: 'merged', step: 4 });
  const adapted = await score(inFolder('model'), inFolder('adapter'));
  expect(distance(adapted, await score(inFolder('merged')))).toBeLessThan(1e-4);
  expect(distance(adapted, await score(inFolder('model')))).toBeGreaterThan(1e-2);
});

test('an earlier step is exported by its number, as a different model', async () => {
  expect(await exportTo('full', 'second', { step: 2 })).toMatchObject({ form: 'full', step: 2 });
  await exportTo('full', 'newest');
  expect(distance(await score(inFolder('second')), await score(inFolder('newest')))).toBeGreaterThan(1e-3);
});

test('the card of a merged model says that it is one and names transformers as its library', async () => {
  await exportTo('lora', 'card', { merge: true });
  const card = await readFile(path.join(inFolder('card'), 'README.md'), 'utf8');
  expect(card).toContain('The merged model of a LoRA fine-tuning');
  expect(card).toContain('library_name: transformers');
  expect(existsSync(path.join(inFolder('card'), 'config.json'))).toBe(true);
});

test('exporting a step that was not kept is refused, and the message lists those that were', async () => {
  await expect(exportTo('full', 'none', { step: 3 })).rejects.toThrow(UsageError);
  await expect(exportTo('full', 'none', { step: 3 })).rejects.toThrow('checkpoints of steps 4, 2');
});

test('export --merge is refused after full fine-tuning', async () => {
  await expect(exportTo('full', 'none', { merge: true })).rejects.toThrow('has no adapter to merge');
});

test('export replaces an earlier publication, but not a folder with other files', async () => {
  await mkdir(inFolder('precious'));
  await writeFile(path.join(inFolder('precious'), 'thesis.tex'), 'x');
  await expect(exportTo('full', 'precious')).rejects.toThrow('holds other files');
  expect(existsSync(path.join(inFolder('precious'), 'thesis.tex'))).toBe(true);
  await exportTo('full', 'again', { step: 2 });
  await exportTo('full', 'again');
  await exportTo('full', 'once');
  expect(await score(inFolder('again'))).toEqual(await score(inFolder('once')));
});

test('a checkpoint with a flipped bit is refused by file name, and nothing is published', async () => {
  const rankFile = path.join(inFolder('damaged'), 'g1/step-00000002/rank-00000-of-00001.safetensors');
  await cp(inFolder('full'), inFolder('damaged'), { recursive: true });
  const bytes = await readFile(rankFile);
  bytes[bytes.length - 5]! ^= 1;
  await writeFile(rankFile, bytes);
  await expect(exportTo('damaged', 'none', { step: 2 })).rejects.toThrow(rankFile);
  expect(existsSync(inFolder('none'))).toBe(false);
});
