/** A worker reads files for a recipe only within its storage roots. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { readFileRows } from '../../../components/datasets/llm/index.js';
import { resolveModel } from '../../../components/models/index.js';
import { readAdapter } from '../../../components/peft/index.js';
import { admit } from '../../../recipes/admission.js';
import { InvalidRecipe, StorageError } from '../../../shared/errors.js';
import { resolveRoots } from '../../../shared/storage/index.js';
import { golden } from '../../support/goldens.js';
import { temporaryFolder } from '../../support/temporary_folder.js';

const folder = temporaryFolder();
const root = path.join(folder, 'root');
const outside = path.join(folder, 'outside');
const secret = path.join(outside, 'secret.jsonl');
const inside = path.join(root, 'rows.jsonl');
const link = path.join(root, 'link.jsonl');
const row = '{"question": "a", "answer": "b", "prompt": "c"}\n';
const environment = { ...process.env };

beforeAll(() => {
  for (const each of [root, outside, path.join(outside, 'model')]) mkdirSync(each);
  for (const file of [secret, inside]) writeFileSync(file, row);
  symlinkSync(secret, link);
  symlinkSync(outside, path.join(root, 'linked'));
  writeFileSync(path.join(outside, 'model', 'config.json'), '{}');
  writeFileSync(path.join(outside, 'base.yaml'), 'seed: 4\n');
  Object.assign(process.env, { TEMPER_ROOTS: root, TEMPER_CACHE: path.join(folder, 'cache') });
});
afterAll(() => {
  process.env = environment;
});

const recipe = (change: Record<string, unknown> = {}) => ({
  name: 'bounded',
  model: { name: 'owner/model' },
  data: { train: train(inside) },
  output_dir: path.join(root, 'run'),
  ...change,
});
const train = (file: string) => ({
  dataset_type: 'column_mapped',
  path: file,
  columns: { question: 'question', answer: 'answer' },
});
const lora = (init_from: string) => ({ type: 'lora', init_from });
const tasks = (...list: Record<string, unknown>[]) => ({ tasks: list });
const submit = (input: Record<string, unknown>) =>
  admit(input, {
    workflowId: 'bounded',
    runId: '1',
    namespace: 'default',
    server: null,
    roots: resolveRoots(null).roots,
  });

test.each([
  ['a file elsewhere', { data: { train: train(secret) } }, 'data.train.path', secret],
  ['..', { data: { train: train(`${root}/../outside/secret.jsonl`) } }, 'data.train.path', secret],
  ['a link', { data: { train: train(link) } }, 'data.train.path', secret],
  ['a linked folder', { data: { train: train(`${root}/linked/*.jsonl`) } }, 'data.train.path', outside],
  ['a file URI', { data: { train: train(`file://${secret}`) } }, 'data.train.path', secret],
  ['a system file', { data: { train: train('/etc/passwd') } }, 'data.train.path', '/etc/passwd'],
  [
    'validation data',
    { data: { train: train(inside), validation: train(secret) } },
    'data.validation.path',
    secret,
  ],
  [
    'prompts of samples',
    { evaluation: tasks({ task: 'samples', path: secret }) },
    'evaluation.tasks.0.path',
    secret,
  ],
  [
    'few-shot examples',
    { evaluation: tasks({ task: 'hellaswag', path: inside, num_fewshot: 1, fewshot_path: secret }) },
    'evaluation.tasks.0.fewshot_path',
    secret,
  ],
  ['a model', { model: { name: path.join(outside, 'model') } }, 'model.name', outside],
  ['an adapter to start from', { peft: lora(path.join(outside, 'adapter')) }, 'peft.init_from', outside],
])('%s outside the roots is refused by key, path and roots', async (_, change, key, refusal) => {
  const failure = await submit(recipe(change)).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(InvalidRecipe);
  const { message } = failure as Error;
  expect(message).toContain(`${key}: `);
  expect(message).toContain(refusal);
  expect(message).toContain(`is outside the storage roots of this worker (${root}`);
});

test('a template outside the roots is not read', async () => {
  await expect(submit(recipe({ extends: path.join(outside, 'base.yaml') }))).rejects.toThrow(
    /extends: .*outside\/base\.yaml.* is outside the storage roots of this worker/,
  );
});

test('files within the roots, in the cache or in the examples may be read, and outputs written', async () => {
  writeFileSync(path.join(root, 'base.yaml'), 'seed: 4\n');
  const kitchen = path.resolve('examples/llm/kitchen.jsonl');
  const cached = path.join(folder, 'cache', 'packs.jsonl');
  const validation = { examples: train(kitchen), cached: train(cached), root: train(`${root}/*.jsonl`) };
  const admitted = await submit(
    recipe({ extends: path.join(root, 'base.yaml'), data: { train: train(inside), validation } }),
  );
  expect(admitted.run.outputDir).toBe(path.join(root, 'run'));
});

const readAll = async (pattern: string) => {
  const rows: unknown[] = [];
  for await (const { value } of readFileRows(pattern, 'line')) rows.push(value);
  return rows;
};

test.each([secret, link, `${root}/linked`, `${root}/linked/*.jsonl`, '/etc/passwd', `file://${secret}`])(
  'rows of %s outside the roots are never read',
  async (pattern) => {
    await expect(readAll(pattern)).rejects.toThrow(StorageError);
  },
);

test('rows within the roots are read', async () => {
  expect(await readAll(`file://${inside}`)).toHaveLength(1);
});

test('a model or an adapter outside the roots, or with links to files there, is not opened', async () => {
  await expect(resolveModel(path.join(outside, 'model'))).rejects.toThrow(/model: .*outside\/model/);
  await expect(resolveModel(golden('tokenizers', 'smollm.gguf'))).rejects.toThrow(StorageError);
  await expect(readAdapter(golden('peft', 'lora'), [])).rejects.toThrow(/outside the storage roots/);
  const model = path.join(root, 'model');
  mkdirSync(model);
  symlinkSync(path.join(outside, 'model', 'config.json'), path.join(model, 'config.json'));
  await expect(resolveModel(model)).rejects.toThrow(/model: .*config\.json/);
});
