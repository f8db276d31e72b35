/**
 * A `temporal.config.mjs` of a user who installed the package: every process that needs its dataset type, task and
 * model family has them. The file logs each process and thread that loads it.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { findTemporalCli } from '../../workers/embedded_server/server_process.js';
import { runTemper, temperCommand } from '../support/temper_command.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTokenizedModel } from '../support/tokenized_model.js';

const root = path.resolve(import.meta.dirname, '../../..');
const folder = temporaryFolder();
const inFolder = (...parts: string[]) => path.join(folder, ...parts);
const temporal = findTemporalCli();

/** The program under test, in the folder where npm puts an installed package. */
const config = `
import { appendFileSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { defineConfig } from '@temper-train/temper';
import { registerDataset } from '@temper-train/temper/datasets/llm';
import { registerTask } from '@temper-train/temper/evaluation';
import { modelFromConfig, registerModelFamily } from '@temper-train/temper/models';
import { z } from 'zod';

const row = z.strictObject({ dataset_type: z.literal('mine'), token: z.int() });
const task = z.strictObject({ task: z.literal('rhymes') });

export default defineConfig({
  pool: 'fast',
  register() {
    appendFileSync('${inFolder('loaded.log')}', process.argv[1] + ' ' + (threadId === 0 ? 'process' : 'thread') + '\\n');
    registerDataset({
      type: 'mine', schema: row, needsTokenizer: false,
      source: { kind: 'generated', rows: () => 40 },
      convert: (_, { token }) => [{ ids: Int32Array.of(token, 4, 5), labels: Int32Array.of(token, 4, 5) }],
    });
    registerTask({
      task: 'rhymes', schema: task, needs: 'generation', partSize: 8, metrics: 'rhymes', direction: () => 'higher',
      examples: async () => [{ id: '1', prompt: 'One, two,' }],
      evaluate: async (examples, _, model) => {
        const answers = await model.generate(examples.map(({ prompt }) => prompt),
          { maxNewTokens: 2, stop: [], temperature: 0, topP: 1, seed: 0, firstPrompt: 0 });
        return examples.map(({ id, prompt }, i) => ({ id, scores: { rhymes: 1 }, details: { prompt, answer: answers[i] } }));
      },
      aggregate: (results) => ({ rhymes: { value: 1, stderr: null, n: results.length } }),
    });
    registerModelFamily({
      architecture: 'MineForCausalLM', ggufArchitectures: [],
      model: (values, location) => modelFromConfig({ ...values, architectures: ['LlamaForCausalLM'] }, location),
      configFromGguf: () => ({}),
    });
  },
});
`;

/** Without TEMPER_CONFIG: the command has to find the file. */
const env = {
  ...process.env,
  TEMPER_CACHE: inFolder('cache'),
  TEMPER_THREADS: '1',
  TEMPORAL_CLI: temporal,
  TEMPORAL_ADDRESS: '',
};

/** Runs the command in the user's folder. */
const temper = (...parameters: string[]) => runTemper(parameters, { cwd: folder, env });

beforeAll(async () => {
  mkdirSync(inFolder('node_modules/@temper-train'), { recursive: true });
  symlinkSync(root, inFolder('node_modules/@temper-train/temper'));
  symlinkSync(path.join(root, 'node_modules/zod'), inFolder('node_modules/zod'));
  writeFileSync(inFolder('temporal.config.mjs'), config);
  await writeTokenizedModel(inFolder('model'));
  const model = JSON.parse(await readFile(inFolder('model/config.json'), 'utf8'));
  await writeFile(
    inFolder('model/config.json'),
    JSON.stringify({ ...model, architectures: ['MineForCausalLM'] }),
  );
  await writeFile(
    inFolder('recipe.yaml'),
    'name: mine\nmodel: {name: ./model}\n' +
      'data:\n  train: {dataset_type: mine, token: 3}\n  packed_sequence_size: 32\n' +
      'training: {precision: fp32, max_steps: 3}\n' +
      'evaluation: {tasks: [{task: rhymes}]}\nexport: {onnx: fp32}\n',
  );
  await writeFile(inFolder('tokens.jsonl'), '{"input_ids": [1, 2, 3]}\n');
}, 60_000);

test.each([
  ['validate', ['recipe.yaml']],
  ['preview', ['recipe.yaml', '--rows', '1']],
  ['plan', ['recipe.yaml']],
  ['score', ['--model', 'model', '--input', 'tokens.jsonl', '--output', 'scores.jsonl']],
  ['generate', ['--model', 'model', '--prompt', 'One', '--raw', '--max-new-tokens', '2']],
  ['evaluate', ['--model', 'model', '--task', 'rhymes', '--json']],
])(
  'temper %s can use what the installation file registers',
  async (command, parameters) => {
    const { code, stderr } = await temper(command, ...parameters);
    expect([code, stderr.replace(/[\s\S]*\r/, '')]).toEqual([0, expect.any(String)]);
  },
  120_000,
);

test('a run loads the installation file in every process and thread', async () => {
  writeFileSync(inFolder('loaded.log'), '');
  const { code, stdout, stderr } = await temper('run', 'recipe.yaml', '--json');
  expect([code, stderr]).toEqual([0, expect.stringContaining(inFolder('temporal.config.mjs'))]);
  expect(JSON.parse(stdout)).toMatchObject({ state: 'completed', metrics: { 'rhymes/rhymes': 1 } });
  const lines = readFileSync(inFolder('loaded.log'), 'utf8').trim().split('\n');
  const loaders = lines.map((line) => line.replace(/^.*\//, ''));
  for (const process of [
    'main.js process',
    'rank.js process',
    'step.js process',
    'tokenize_worker.js thread',
    'session_process.js process',
    'probe_process.js process',
  ])
    expect(loaders).toContain(process);
}, 240_000);

test('a worker joins the pool of the installation file, and names the file first', async () => {
  const worker = spawn(temperCommand, ['worker'], { cwd: folder, env, stdio: 'pipe' });
  let stderr = '';
  const serving = new Promise<void>((resolve, reject) => {
    worker.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (/serving all/.test(stderr)) resolve();
    });
    worker.on('close', () => reject(new Error(stderr)));
  });
  await serving;
  const exit = new Promise((resolve) => worker.on('close', resolve));
  worker.kill('SIGTERM');
  await exit;
  expect(stderr).toMatch(/ as fast\./);
  expect(stderr.split('\n')[0]).toBe(`configuration: ${inFolder('temporal.config.mjs')}`);
}, 120_000);

test('doctor names the installation file', async () => {
  const { stdout } = await temper('doctor');
  expect(stdout).toContain(inFolder('temporal.config.mjs'));
}, 60_000);
