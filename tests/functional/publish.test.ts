/** Publishing from a run that was trained in this process: the Hugging Face folder and ONNX, to a folder, S3 and a hub. */
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Generator } from '../../components/generation/index.js';
import { readPublication } from '../../components/publication/index.js';
import { consolidate, evaluate, exportRun, Scorer } from '../../recipes/index.js';
import { verifyOnnx } from '../../recipes/llm/publish/onnx_verify.js';
import { CheckpointError, UsageError } from '../../shared/errors.js';
import { openStorage } from '../../shared/storage/index.js';
import { type S3Server, startS3Server } from '../support/s3_server.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTokenizedModel } from '../support/tokenized_model.js';
import {
  openTrainer,
  prepareRun,
  quietHooks,
  type TrainingRun,
  trainToTheEnd,
} from '../support/training_run.js';
import { UploadHub } from '../support/upload_hub.js';

const folder = temporaryFolder();
const inFolder = (...names: string[]) => path.join(folder, ...names);
const adapter = { type: 'lora', rank: 4, alpha: 8 };
const probe = [[1, 5, 9, 200, 31, 7, 7, 90, 2, 64]];

let s3: S3Server;
let hub: UploadHub;
let lora: TrainingRun;
let full: TrainingRun;

beforeAll(async () => {
  s3 = await startS3Server(['bucket']);
  hub = await UploadHub.start();
  Object.assign(process.env, s3.env, {
    TEMPER_CACHE: inFolder('cache'),
    HF_ENDPOINT: hub.endpoint,
    HF_TOKEN: 'hf_test',
  });
  await writeTokenizedModel(inFolder('model'));
  lora = await train('lora', adapter);
  full = await train('full', null);
}, 60_000);
afterAll(async () => {
  await hub.close();
  await s3.stop();
});

/** Trains a few steps at a high learning rate, so that the weights change visibly. */
async function train(
  name: string,
  peft: object | null,
  more: Record<string, unknown> = {},
): Promise<TrainingRun> {
  const run = await prepareRun({
    name,
    model: { name: inFolder('model') },
    peft,
    data: {
      train: { dataset_type: 'mock', documents: 16, lengths: { min: 16, max: 32 }, vocabulary_size: 200 },
      packed_sequence_size: 64,
      batch_size: { global: 2, micro: 2 },
    },
    training: { precision: 'fp32', learning_rate: 0.01, num_epochs: 100, max_steps: 3 },
    output_dir: inFolder(name),
    ...more,
  });
  const trainer = await openTrainer(run);
  await trainToTheEnd(trainer);
  await trainer.close();
  return run;
}

/** Trains a run with this `export` section, evaluates it and publishes it. */
async function publish(name: string, peft: object | null, section: object) {
  const { admitted, data, model } = await train(name, peft, { export: section });
  const publishAgain = async () => {
    const evaluation = await evaluate(admitted.run, { model, data }, quietHooks);
    return consolidate(admitted.run, { model, data, evaluation }, quietHooks);
  };
  return { ...(await publishAgain()), again: publishAgain };
}

async function scoreInEngine(model: string, adapter: string | null = null): Promise<number[]> {
  const scorer = await Scorer.open(model, { adapter, precision: 'fp32' });
  const [logprobs] = await scorer.score(probe);
  await scorer.close();
  return [...logprobs!];
}

async function scoreInRuntime(onnx: string): Promise<number[]> {
  const generator = await Generator.open({ onnx, eosTokenIds: [2], contextLength: 2048, threads: 1 });
  const [logprobs] = await generator.logprobs(probe);
  await generator.close();
  return [...logprobs!];
}

const distance = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

const listFiles = (root: string) =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .sort();

const onnxFolderFiles = [
  'README.md',
  'config.json',
  'genai_config.json',
  'onnx/model.onnx',
  'temper_manifest.json',
  'tokenizer.json',
  'tokenizer_config.json',
];

test('the model in onnx/ scores as the adapter on the base does', async () => {
  await publish('lora-onnx', adapter, { onnx: 'fp32' });
  expect(listFiles(inFolder('lora-onnx', 'onnx'))).toEqual(onnxFolderFiles);
  const scores = await scoreInRuntime(inFolder('lora-onnx', 'onnx', 'onnx', 'model.onnx'));
  expect(
    distance(scores, await scoreInEngine(inFolder('model'), inFolder('lora-onnx', 'final'))),
  ).toBeLessThan(1e-5);
  expect(distance(scores, await scoreInEngine(inFolder('model')))).toBeGreaterThan(0.1);
});

test('the ONNX export has the config overrides of the base model', async () => {
  const model = { name: inFolder('model'), config_overrides: { rms_norm_eps: 0.1 } };
  const {
    admitted,
    data,
    model: verified,
  } = await train('overridden', adapter, { model, export: { onnx: 'fp32' } });
  const evaluation = await evaluate(admitted.run, { model: verified, data }, quietHooks);
  await consolidate(admitted.run, { model: verified, data, evaluation }, quietHooks);
  const config = await readFile(inFolder('overridden', 'onnx', 'config.json'), 'utf8');
  expect(JSON.parse(config)).toMatchObject({ rms_norm_eps: 0.1 });
});

test('final/ and onnx/ are published as one folder, and not a second time', async () => {
  const run = await publish('to-folder', null, { onnx: 'fp16', publish_to: inFolder('published', 'model') });
  expect(run.published).toBe(inFolder('published', 'model'));
  expect(listFiles(inFolder('published', 'model'))).toEqual(
    [...onnxFolderFiles, 'model.safetensors']
      .map((name) => name.replace('model.onnx', 'model_fp16.onnx'))
      .sort(),
  );
  const inode = async () => (await stat(inFolder('published', 'model', 'config.json'))).ino;
  const inodeBefore = await inode();
  await run.again();
  expect(await inode()).toBe(inodeBefore);
  expect(await scoreInEngine(inFolder('published', 'model'))).toEqual(
    await scoreInEngine(inFolder('to-folder', 'final')),
  );
});

test('a publication on S3 is complete under its prefix', async () => {
  await publish('to-s3', adapter, { onnx: 'fp32', publish_to: 's3://bucket/models/tiny' });
  const published = await openStorage('s3://bucket/models/tiny', { roots: null });
  const manifest = await readPublication(published);
  expect(Object.keys(manifest!.files).sort()).toEqual(
    [...onnxFolderFiles, 'adapter_config.json', 'adapter_model.safetensors']
      .filter((name) => name !== 'temper_manifest.json')
      .sort(),
  );
});

test('a run whose folder is on S3 has its ONNX folder there', async () => {
  const output_dir = 's3://bucket/runs/lora';
  const { admitted, data, model } = await train('on-s3', adapter, { output_dir, export: { onnx: 'fp32' } });
  const evaluation = await evaluate(admitted.run, { model, data }, quietHooks);
  await consolidate(admitted.run, { model, data, evaluation }, quietHooks);
  const published = await openStorage(`${output_dir}/onnx`, { roots: null });
  expect(Object.keys((await readPublication(published))!.files)).toContain('onnx/model.onnx');
  expect(readdirSync(inFolder('cache', 'staged'))).toEqual([]);
}, 60_000);

test('a publication on the hub is one commit, and publishing the same again makes none', async () => {
  const run = await publish('to-hub', adapter, { onnx: 'fp32', publish_to: 'hf://owner/tiny' });
  expect(run.published).toBe(`${hub.endpoint}/owner/tiny`);
  expect(hub.commits('owner/tiny').map(({ title }) => title)).toEqual(['initial commit', 'to-hub, step 3']);
  expect(Object.keys(hub.files('owner/tiny')).sort()).toEqual(
    [...onnxFolderFiles, '.gitattributes', 'adapter_config.json', 'adapter_model.safetensors'].sort(),
  );
  await run.again();
  expect(hub.commits('owner/tiny')).toHaveLength(2);
});

test('publishing that is aborted stops before any file is visible', async () => {
  const { admitted, data, model } = await train('stopped', null, { export: { onnx: 'fp32' } });
  const evaluation = await evaluate(admitted.run, { model, data }, quietHooks);
  const stop = new AbortController();
  const hooks = { signal: stop.signal, progress: () => stop.abort(new Error('stopped by hand')) };
  const attempt = consolidate(admitted.run, { model, data, evaluation }, hooks);
  await expect(attempt).rejects.toThrow('stopped by hand');
  expect(readdirSync(inFolder('stopped')).filter((name) => /final|onnx/.test(name))).toEqual([]);
});

test('exportRun writes an adapter or a merged model, with ONNX, to a folder or to a branch of the hub', async () => {
  const { admitted } = lora;
  const newest = { outputDir: admitted.run.outputDir, step: null };
  await exportRun({ ...newest, output: inFolder('by-hand'), merge: true, onnx: 'fp32' }, quietHooks);
  expect(listFiles(inFolder('by-hand'))).toEqual([...onnxFolderFiles, 'model.safetensors'].sort());
  const scores = await scoreInRuntime(inFolder('by-hand', 'onnx', 'model.onnx'));
  expect(distance(scores, await scoreInEngine(inFolder('by-hand')))).toBeLessThan(1e-5);
  const output = 'hf://owner/by-hand@second';
  const { model } = await exportRun({ ...newest, output, merge: false, onnx: null }, quietHooks);
  expect(model).toBe(`${hub.endpoint}/owner/by-hand/tree/second`);
  expect(Object.keys(hub.files('owner/by-hand', 'second'))).toContain('adapter_model.safetensors');
  expect(Object.keys(hub.files('owner/by-hand', 'main'))).toEqual(['.gitattributes']);
});

test('an export that scores differently is refused, and the error names the first token that differs', async () => {
  const { admitted } = full;
  const options = { outputDir: admitted.run.outputDir, step: null, merge: false };
  await exportRun({ ...options, output: inFolder('trained'), onnx: 'fp32' }, quietHooks);
  const mismatch = {
    onnx: inFolder('trained', 'onnx', 'model.onnx'),
    precision: 'fp32' as const,
    modelFolder: inFolder('model'),
    adapter: null,
  };
  const failure = await verifyOnnx(mismatch, quietHooks.signal).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(CheckpointError);
  expect((failure as Error).message).toMatch(
    /token \d+ of probe \d+ \(id \d+\) has log-probability -[\d.]+ in ONNX Runtime and -[\d.]+ in the engine/,
  );
});

test.each([
  ['a folder with other files', () => inFolder('precious'), 'holds other files'],
  ['an unknown scheme', () => 'gs://bucket/x', "'gs://' is not known"],
  ['a hub without an owner', () => 'hf://tiny', 'hf://owner/name'],
  ['a whole bucket', () => 's3://bucket', 'a whole bucket cannot be replaced'],
])('publishing to %s is refused', async (_, output, message) => {
  await mkdir(inFolder('precious'), { recursive: true });
  await writeFile(inFolder('precious', 'thesis.tex'), 'x');
  const { admitted } = full;
  const options = { outputDir: admitted.run.outputDir, step: null, merge: false, onnx: null };
  const attempt = exportRun({ ...options, output: output() }, quietHooks);
  await expect(attempt).rejects.toThrow(message);
  await expect(attempt).rejects.toBeInstanceOf(UsageError);
  expect(existsSync(inFolder('precious', 'thesis.tex'))).toBe(true);
});

test('a run that publishes into its own folder is refused before training', async () => {
  const attempt = train('inside', null, { export: { publish_to: inFolder('inside', 'final') } });
  await expect(attempt).rejects.toThrow(/overlaps the run's output_dir/);
  expect(readdirSync(inFolder('inside'))).not.toContain('g1');
});

test('a run that publishes to the hub without a token is refused before training', async () => {
  process.env.HF_TOKEN = '';
  const attempt = train('tokenless', null, { export: { publish_to: 'hf://owner/tiny' } });
  await expect(attempt).rejects.toThrow(/HF_TOKEN is not set/);
  process.env.HF_TOKEN = 'hf_test';
});
