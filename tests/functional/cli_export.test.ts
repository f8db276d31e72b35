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
const at = (name: string) => path.join(folder, name);

/** Four steps, a checkpoint after each second one, both kept. */
async function train(name: string, peft: object | null): Promise<void> {
  const trainer = await openTrainer(
    await prepareRun({
      name,
      model: { name: at('model') },
      peft,
      data: {
        train: { dataset_type: 'mock', documents: 16, lengths: { min: 16, max: 32 }, vocabulary_size: 256 },
        packed_sequence_size: 64,
        batch_size: { global: 2, micro: 2 },
      },
      training: { precision: 'fp32', learning_rate: 0.01, num_epochs: 100, max_steps: 4 },
      checkpoint: { every_steps: 2, keep_last: 2 },
      output_dir: at(name),
    }),
  );
  await trainToTheEnd(trainer);
  await trainer.close();
}

const run = (
  name: string,
  output: string,
  options: { merge?: boolean; step?: number; onnx?: OnnxPrecision } = {},
) => {
  const { merge = false, step = null, onnx = null } = options;
  return exportRun(
    { outputDir: at(name), output: path.resolve(folder, output), merge, step, onnx },
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
  process.env.TEMPER_CACHE = at('cache');
  await writeTinyModel(at('model'));
  await train('lora', { type: 'lora', rank: 4, alpha: 8 });
  await train('full', null);
}, 60_000);

test('the adapter beside the base scores as the merged model, and not as the base', async () => {
  expect(await run('lora', 'adapter')).toMatchObject({ form: 'adapter', step: 4, model: at('adapter') });
  expect(await run('lora', 'merged', { merge: true })).toMatchObject({ form: 'merged', step: 4 });
  const beside = await score(at('model'), at('adapter'));
  expect(distance(beside, await score(at('merged')))).toBeLessThan(1e-4);
  expect(distance(beside, await score(at('model')))).toBeGreaterThan(1e-2);
});

test('an earlier step is exported by its number, and is another model', async () => {
  expect(await run('full', 'second', { step: 2 })).toMatchObject({ form: 'full', step: 2 });
  await run('full', 'newest');
  expect(distance(await score(at('second')), await score(at('newest')))).toBeGreaterThan(1e-3);
});

test('the card of a merged model says that it is one, and transformers loads it', async () => {
  await run('lora', 'card', { merge: true });
  const card = await readFile(path.join(at('card'), 'README.md'), 'utf8');
  expect(card).toContain('The merged model of a LoRA fine-tuning');
  expect(card).toContain('library_name: transformers');
  expect(existsSync(path.join(at('card'), 'config.json'))).toBe(true);
});

test('a step that is not kept is refused with those that are', async () => {
  await expect(run('full', 'none', { step: 3 })).rejects.toThrow(UsageError);
  await expect(run('full', 'none', { step: 3 })).rejects.toThrow('checkpoints of steps 4, 2');
});

test('there is nothing to merge after full fine-tuning', async () => {
  await expect(run('full', 'none', { merge: true })).rejects.toThrow('has no adapter to merge');
});

test('a folder with other files is not replaced, an earlier publication is', async () => {
  await mkdir(at('precious'));
  await writeFile(path.join(at('precious'), 'thesis.tex'), 'x');
  await expect(run('full', 'precious')).rejects.toThrow('holds other files');
  expect(existsSync(path.join(at('precious'), 'thesis.tex'))).toBe(true);
  await run('full', 'again', { step: 2 });
  await run('full', 'again');
  await run('full', 'once');
  expect(await score(at('again'))).toEqual(await score(at('once')));
});

test('a checkpoint whose bytes were flipped is refused by the file, and nothing is published', async () => {
  const rankFile = path.join(at('damaged'), 'g1/step-00000002/rank-00000-of-00001.safetensors');
  await cp(at('full'), at('damaged'), { recursive: true });
  const bytes = await readFile(rankFile);
  bytes[bytes.length - 5]! ^= 1;
  await writeFile(rankFile, bytes);
  await expect(run('damaged', 'none', { step: 2 })).rejects.toThrow(rankFile);
  expect(existsSync(at('none'))).toBe(false);
});
