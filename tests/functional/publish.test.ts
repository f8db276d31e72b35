/** Publishing from a run that was trained in this process: ONNX beside the Hugging Face folder, to a folder, S3 and a hub. */
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
const at = (...names: string[]) => path.join(folder, ...names);
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
    TEMPER_CACHE: at('cache'),
    HF_ENDPOINT: hub.endpoint,
    HF_TOKEN: 'hf_test',
  });
  await writeTokenizedModel(at('model'));
  lora = await train('lora', adapter);
  full = await train('full', null);
}, 60_000);
afterAll(async () => {
  await hub.close();
  await s3.stop();
});

/** A few steps with large strides, so that the weights are others afterwards. */
async function train(
  name: string,
  peft: object | null,
  more: Record<string, unknown> = {},
): Promise<TrainingRun> {
  const run = await prepareRun({
    name,
    model: { name: at('model') },
    peft,
    data: {
      train: { dataset_type: 'mock', documents: 16, lengths: { min: 16, max: 32 }, vocabulary_size: 200 },
      packed_sequence_size: 64,
      batch_size: { global: 2, micro: 2 },
    },
    training: { precision: 'fp32', learning_rate: 0.01, num_epochs: 100, max_steps: 3 },
    output_dir: at(name),
    ...more,
  });
  const trainer = await openTrainer(run);
  await trainToTheEnd(trainer);
  await trainer.close();
  return run;
}

/** The run's last steps, with an `export` section of its own. */
async function publish(name: string, peft: object | null, section: object) {
  const { admitted, data, model } = await train(name, peft, { export: section });
  const publishAgain = async () => {
    const evaluation = await evaluate(admitted.run, { model, data }, quietHooks);
    return consolidate(admitted.run, { model, data, evaluation }, quietHooks);
  };
  return { ...(await publishAgain()), again: publishAgain };
}

async function engine(model: string, beside: string | null = null): Promise<number[]> {
  const scorer = await Scorer.open(model, { adapter: beside, precision: 'fp32' });
  const [logprobs] = await scorer.score(probe);
  await scorer.close();
  return [...logprobs!];
}

async function runtime(onnx: string): Promise<number[]> {
  const generator = await Generator.open({ onnx, eosTokenIds: [2], contextLength: 2048, threads: 1 });
  const [logprobs] = await generator.logprobs(probe);
  await generator.close();
  return [...logprobs!];
}

const distance = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

const everything = (root: string) =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .sort();

const onnxOf = [
  'README.md',
  'config.json',
  'genai_config.json',
  'onnx/model.onnx',
  'temper_manifest.json',
  'tokenizer.json',
  'tokenizer_config.json',
];

test('onnx/ computes what the adapter beside the base does', async () => {
  await publish('lora-onnx', adapter, { onnx: 'fp32' });
  expect(everything(at('lora-onnx', 'onnx'))).toEqual(onnxOf);
  const scores = await runtime(at('lora-onnx', 'onnx', 'onnx', 'model.onnx'));
  expect(distance(scores, await engine(at('model'), at('lora-onnx', 'final')))).toBeLessThan(1e-5);
  expect(distance(scores, await engine(at('model')))).toBeGreaterThan(0.1);
});

test('overrides of the base model’s config reach the export', async () => {
  const model = { name: at('model'), config_overrides: { rms_norm_eps: 0.1 } };
  const {
    admitted,
    data,
    model: verified,
  } = await train('overridden', adapter, { model, export: { onnx: 'fp32' } });
  const evaluation = await evaluate(admitted.run, { model: verified, data }, quietHooks);
  await consolidate(admitted.run, { model: verified, data, evaluation }, quietHooks);
  const config = await readFile(at('overridden', 'onnx', 'config.json'), 'utf8');
  expect(JSON.parse(config)).toMatchObject({ rms_norm_eps: 0.1 });
});

test('final/ and onnx/ are published as one folder, and not again', async () => {
  const run = await publish('to-folder', null, { onnx: 'fp16', publish_to: at('shelf', 'model') });
  expect(run.published).toBe(at('shelf', 'model'));
  expect(everything(at('shelf', 'model'))).toEqual(
    [...onnxOf, 'model.safetensors'].map((name) => name.replace('model.onnx', 'model_fp16.onnx')).sort(),
  );
  const inode = async () => (await stat(at('shelf', 'model', 'config.json'))).ino;
  const before = await inode();
  await run.again();
  expect(await inode()).toBe(before);
  expect(await engine(at('shelf', 'model'))).toEqual(await engine(at('to-folder', 'final')));
});

test('on S3 the whole publication lies under its prefix', async () => {
  await publish('to-s3', adapter, { onnx: 'fp32', publish_to: 's3://bucket/models/tiny' });
  const published = await openStorage('s3://bucket/models/tiny', { roots: null });
  const manifest = await readPublication(published);
  expect(Object.keys(manifest!.files).sort()).toEqual(
    [...onnxOf, 'adapter_config.json', 'adapter_model.safetensors']
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
  expect(readdirSync(at('cache', 'staged'))).toEqual([]);
}, 60_000);

test('on the hub it comes in one commit, and the same again makes none', async () => {
  const run = await publish('to-hub', adapter, { onnx: 'fp32', publish_to: 'hf://owner/tiny' });
  expect(run.published).toBe(`${hub.endpoint}/owner/tiny`);
  expect(hub.commits('owner/tiny').map(({ title }) => title)).toEqual(['initial commit', 'to-hub, step 3']);
  expect(Object.keys(hub.files('owner/tiny')).sort()).toEqual(
    [...onnxOf, '.gitattributes', 'adapter_config.json', 'adapter_model.safetensors'].sort(),
  );
  await run.again();
  expect(hub.commits('owner/tiny')).toHaveLength(2);
});

test('told to stop, it stops before anything is seen', async () => {
  const { admitted, data, model } = await train('stopped', null, { export: { onnx: 'fp32' } });
  const evaluation = await evaluate(admitted.run, { model, data }, quietHooks);
  const stop = new AbortController();
  const hooks = { signal: stop.signal, progress: () => stop.abort(new Error('stopped by hand')) };
  const attempt = consolidate(admitted.run, { model, data, evaluation }, hooks);
  await expect(attempt).rejects.toThrow('stopped by hand');
  expect(readdirSync(at('stopped')).filter((name) => /final|onnx/.test(name))).toEqual([]);
});

test('by hand: adapter or merged model, with ONNX, to a folder or a branch of the hub', async () => {
  const { admitted } = lora;
  const hand = { outputDir: admitted.run.outputDir, step: null };
  await exportRun({ ...hand, output: at('by-hand'), merge: true, onnx: 'fp32' }, quietHooks);
  expect(everything(at('by-hand'))).toEqual([...onnxOf, 'model.safetensors'].sort());
  const scores = await runtime(at('by-hand', 'onnx', 'model.onnx'));
  expect(distance(scores, await engine(at('by-hand')))).toBeLessThan(1e-5);
  const output = 'hf://owner/by-hand@second';
  const { model } = await exportRun({ ...hand, output, merge: false, onnx: null }, quietHooks);
  expect(model).toBe(`${hub.endpoint}/owner/by-hand/tree/second`);
  expect(Object.keys(hub.files('owner/by-hand', 'second'))).toContain('adapter_model.safetensors');
  expect(Object.keys(hub.files('owner/by-hand', 'main'))).toEqual(['.gitattributes']);
});

test('a model that computes anything else is refused by its first token that differs', async () => {
  const { admitted } = full;
  const options = { outputDir: admitted.run.outputDir, step: null, merge: false };
  await exportRun({ ...options, output: at('trained'), onnx: 'fp32' }, quietHooks);
  const wrong = {
    onnx: at('trained', 'onnx', 'model.onnx'),
    precision: 'fp32' as const,
    modelFolder: at('model'),
    adapter: null,
  };
  const failure = await verifyOnnx(wrong, quietHooks.signal).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(CheckpointError);
  expect((failure as Error).message).toMatch(
    /token \d+ of probe \d+ \(id \d+\) has log-probability -[\d.]+ in ONNX Runtime and -[\d.]+ in the engine/,
  );
});

test.each([
  ['a folder with other files', () => at('precious'), 'holds other files'],
  ['an unknown scheme', () => 'gs://bucket/x', "'gs://' is not known"],
  ['a hub without an owner', () => 'hf://tiny', 'hf://owner/name'],
  ['a whole bucket', () => 's3://bucket', 'a whole bucket cannot be replaced'],
])('%s is refused', async (_, output, message) => {
  await mkdir(at('precious'), { recursive: true });
  await writeFile(at('precious', 'thesis.tex'), 'x');
  const { admitted } = full;
  const options = { outputDir: admitted.run.outputDir, step: null, merge: false, onnx: null };
  const attempt = exportRun({ ...options, output: output() }, quietHooks);
  await expect(attempt).rejects.toThrow(message);
  await expect(attempt).rejects.toBeInstanceOf(UsageError);
  expect(existsSync(at('precious', 'thesis.tex'))).toBe(true);
});

test('before training a run is refused that publishes into its own folder', async () => {
  const attempt = train('inside', null, { export: { publish_to: at('inside', 'final') } });
  await expect(attempt).rejects.toThrow(/overlaps the run's output_dir/);
  expect(readdirSync(at('inside'))).not.toContain('g1');
});

test('before training a run is refused that publishes to the hub without a token', async () => {
  process.env.HF_TOKEN = '';
  const attempt = train('tokenless', null, { export: { publish_to: 'hf://owner/tiny' } });
  await expect(attempt).rejects.toThrow(/HF_TOKEN is not set/);
  process.env.HF_TOKEN = 'hf_test';
});
