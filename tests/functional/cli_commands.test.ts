/** The command as a user meets it: help, exit codes, and the answers to bad input. */
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { createServer } from 'node:tls';
import { freePort } from '../../workers/embedded_server/server_process.js';
import { type CommandResult, runTemper, temperCommand } from '../support/temper_command.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTinyModel } from '../support/tiny_model.js';
import { tlsCertificate } from '../support/tls_certificate.js';

const folder = temporaryFolder();

function temper(
  parameters: readonly string[],
  environment: Record<string, string> = {},
): Promise<CommandResult> {
  const env = { ...process.env, TEMPER_CACHE: path.join(folder, 'cache'), ...environment };
  return runTemper(parameters, { cwd: folder, env });
}

const mock = 'data:\n  train: {dataset_type: mock, documents: 20}\n  packed_sequence_size: 64\n';

/** Writes a recipe into the folder, and returns its name. */
function writeRecipe(name: string, text: string): string {
  writeFileSync(path.join(folder, name), text);
  return name;
}

const writeRowsRecipe = (file: string, keys = '') =>
  writeRecipe(
    `${file}.yaml`,
    `name: rows\nmodel: {name: ./model}\ndata:\n  train: {dataset_type: pretokenized, path: ${file}${keys}}\n`,
  );

beforeAll(async () => {
  mkdirSync(path.join(folder, 'cache'));
  await writeTinyModel(path.join(folder, 'model'));
});

test('--help names every command and exits with 0', async () => {
  const { code, stdout } = await temper(['--help']);
  expect(code).toBe(0);
  const commands =
    'run start watch worker score evaluate generate chat plan preview validate export schema doctor'.split(
      ' ',
    );
  expect(commands.filter((command) => !new RegExp(`\\b${command}\\b`).test(stdout))).toEqual([]);
});

test.each([
  [['frobnicate'], 'frobnicate'],
  [['validate'], 'RECIPE.yaml'],
  [['plan', 'x.yaml', '--frob'], '--frob'],
])('%j is a usage error that exits with 2 and names what is wrong', async (parameters, message) => {
  const { code, stderr } = await temper(parameters);
  expect(code).toBe(2);
  expect(stderr).toContain(message);
});

test('validate prints the whole recipe, with references to the environment as they were written', async () => {
  const file = writeRecipe('good.yaml', `name: good\nmodel: {name: "\${env:TINY}"}\n${mock}`);
  const { code, stdout } = await temper(['validate', file, '--training.num_epochs=7'], {
    TINY: './model',
    TEMPER_RECIPE_ENV: 'TINY',
  });
  expect(code).toBe(0);
  expect(stdout).toContain('name: ${env:TINY}');
  expect(stdout).toContain('num_epochs: 7');
  expect(stdout).toContain('packed_sequence_size: 64');
  expect(stdout).not.toContain('./model');
});

test('the problems of a recipe are reported together, each with file, line and column', async () => {
  const file = writeRecipe(
    'bad.yaml',
    `name: bad\nmodel: {name: ./model}\ntraning: {}\n${mock}training:\n  num_epochs: many\n  los: masked_ce\n`,
  );
  const { code, stdout, stderr } = await temper(['validate', file]);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain('3 problems');
  expect(stderr).toMatch(/bad\.yaml:3:1: .*traning.*did you mean 'training'/);
  expect(stderr).toMatch(/bad\.yaml:8:\d+: training\.num_epochs/);
  expect(stderr).toMatch(/bad\.yaml:9:\d+: .*los.*did you mean 'loss'/);
});

test.each([
  ['malformed YAML', 'name: [unclosed\nmodel: x\n', /malformed\.yaml:\d+:\d+/],
  ['a list', '- name: x\n', /a recipe is a map/],
])('validating a recipe that is %s exits with 2 and gives its location', async (_, text, message) => {
  const { code, stderr } = await temper(['validate', writeRecipe('malformed.yaml', text)]);
  expect(code).toBe(2);
  expect(stderr).toMatch(message);
});

test.each(['validate', 'plan', 'preview', 'run'])(
  '%s of a recipe that does not exist exits with 2',
  async (command) => {
    const { code, stderr } = await temper([command, 'nowhere.yaml']);
    expect(code).toBe(2);
    expect(stderr).toContain("cannot read the recipe 'nowhere.yaml'");
  },
);

test('plan --json prints memory, work and steps that are not known yet as one object', async () => {
  const file = writeRecipe('plan.yaml', `name: plan\nmodel: {name: ./model}\n${mock}`);
  const { code, stdout } = await temper(['plan', file, '--json']);
  expect(code).toBe(0);
  const plan = JSON.parse(stdout) as Record<string, Record<string, number>>;
  const { total, perLayer: _, ...parts } = plan.memory!;
  expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBe(total);
  expect(plan.model!.trained).toBe(plan.model!.parameters);
  // Full fine-tuning keeps masters, gradients and two moments in float32.
  expect(parts.trained! + parts.gradients! + parts.optimizer!).toBe(16 * plan.model!.trained!);
  expect(plan.steps).toBeNull();
});

test('plan gives a notice about packs longer than the model was made for', async () => {
  const file = writeRecipe('long.yaml', `name: long\nmodel: {name: ./model}\n${mock}`);
  const args = (size: number) => ['plan', file, `--data.packed_sequence_size=${size}`];
  const { max_position_embeddings: maxPositions } = JSON.parse(
    readFileSync(path.join(folder, 'model', 'config.json'), 'utf8'),
  ) as { max_position_embeddings: number };
  expect((await temper(args(maxPositions))).stdout).not.toContain('notice');
  expect((await temper(args(maxPositions + 1))).stdout).toMatch(
    new RegExp(`notice: .*${maxPositions + 1} .*made for ${maxPositions} `),
  );
});

test('plan --print prints the plan as text', async () => {
  const file = writeRecipe('print.yaml', `name: print\nmodel: {name: ./model}\n${mock}`);
  const { stdout } = await temper(['plan', file, '--print']);
  expect(stdout).toMatch(
    /^plan llama v2 [0-9a-f]{12}, arena \d+ bytes, .*\nstep: micro\+ norm update\? snapshot\?\nmicro: records 0 to \d+\n/,
  );
});

test('plan --device says what a device can do on a machine that does not have it', async () => {
  const file = writeRecipe('device.yaml', `name: device\nmodel: {name: ./model}\n${mock}`);
  const fake = await temper(['plan', file, '--device=fake:0', '--json']);
  expect(JSON.parse(fake.stdout).memory.workspace).toBeGreaterThan(0);
  const unknown = await temper(['plan', file, '--device=tpu:0']);
  expect(unknown.stderr).toContain("'tpu:0' is not a device: use cpu:N or fake:N");
});

test('plan lowers the ops that the device has no kernel for, not those of another device', async () => {
  const file = writeRecipe('lowered.yaml', `name: lowered\nmodel: {name: ./model}\n${mock}`);
  const plan = async (device: string, op: string) =>
    await temper(['plan', file, `--device=${device}`, '--json'], { TEMPER_FAKE_WITHOUT: op });
  const [onFake, onCpu] = [await plan('fake:0', 'rmsnorm'), await plan('cpu:0', 'rmsnorm')];
  expect(JSON.parse(onFake.stdout).lowered).toMatchObject([{ op: 'rmsnorm' }]);
  expect(JSON.parse(onCpu.stdout).lowered).toEqual([]);
  const refused = await plan('fake:0', 'matmul');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("the target has no kernel for op 'matmul', and the op has no fallback");
});

test('plan aligns the arena as the device needs it', async () => {
  const file = writeRecipe('aligned.yaml', `name: aligned\nmodel: {name: ./model}\n${mock}`);
  const plan = async (device: string) =>
    (await temper(['plan', file, `--device=${device}`, '--print'], { TEMPER_FAKE_ALIGNMENT: '256' })).stdout;
  const offsets = (text: string) => [...text.matchAll(/@(\d+)\+\d+/g)].map(([, offset]) => Number(offset));
  const [onFake, onCpu] = [await plan('fake:0'), await plan('cpu:0')];
  expect(onFake).toMatch(/^plan llama v2 [0-9a-f]{12}, arena \d+ bytes, aligned to 256\n/);
  expect(onCpu).toMatch(/aligned to 64\n/);
  const isAligned = (offset: number) => offset % 256 === 0;
  expect(offsets(onFake).length).toBeGreaterThan(100);
  expect(offsets(onFake).every(isAligned)).toBe(true);
  expect(offsets(onCpu).every(isAligned)).toBe(false);
});

test('preview puts what is trained on in brackets, and prints no colors into a pipe', async () => {
  writeFileSync(path.join(folder, 'rows.jsonl'), '{"input_ids": [5, 6, 7], "labels": [-100, -100, 7]}\n');
  const { code, stdout } = await temper(['preview', writeRowsRecipe('rows.jsonl')]);
  expect(code).toBe(0);
  expect(stdout).toContain('train 1 (3 tokens, 1 trained on)\n  5 6 ⟦7 ⟧');
  expect(stdout).not.toContain('\x1b[');
});

test.each([
  ['a missing file', 'absent.jsonl', null, 'absent.jsonl: there is no such file'],
  ['an empty dataset', 'empty.jsonl', '', 'no rows are left to train on'],
  [
    'rows that hold nothing to train on',
    'masked.jsonl',
    '{"input_ids": [1, 2], "labels": [-100, -100]}\n',
    'no row',
  ],
  ['a row without its columns', 'columns.jsonl', '{"ids": [1]}\n', 'columns.jsonl: line 1'],
  [
    'invalid UTF-8',
    'utf8.jsonl',
    Buffer.from([0x7b, 0xff, 0x7d, 0x0a]),
    'utf8.jsonl: line 1: not valid UTF-8',
  ],
  ['malformed JSON', 'json.jsonl', '{"input_ids": [1, 2]}\n{"input\n', 'json.jsonl: line 2: malformed JSON'],
  ['ids beyond the vocabulary', 'foreign.jsonl', '{"input_ids": [1, 256]}\n', 'foreign.jsonl: line 1: '],
])('preview of %s exits with 1 and gives the location', async (_, file, content, message) => {
  if (content !== null) writeFileSync(path.join(folder, file), content);
  const { code, stderr } = await temper(['preview', writeRowsRecipe(file)]);
  expect(stderr).toContain(message);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(code).toBe(1);
});

test('export of a folder that holds no run exits with 2', async () => {
  const { code, stderr } = await temper(['export', 'model', '--output', 'exported']);
  expect(code).toBe(2);
  expect(stderr).toContain('holds no run');
});

test('--version prints the version of the package', async () => {
  const file = path.join(temperCommand, '../../package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  expect(await temper(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n` });
});

test('schema prints a JSON Schema with the keys of a recipe', async () => {
  const { code, stdout } = await temper(['schema']);
  expect(code).toBe(0);
  const { properties } = JSON.parse(stdout) as { properties: Record<string, unknown> };
  expect(Object.keys(properties)).toEqual(expect.arrayContaining(['name', 'model', 'data', 'training']));
});

test('doctor fails with a remedy when the named server does not answer', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  const { code, stdout } = await temper(['doctor', '--json'], { TEMPORAL_ADDRESS: address });
  expect(code).toBe(1);
  const { findings } = JSON.parse(stdout) as { findings: Record<string, string>[] };
  const server = findings.find(({ name }) => name === 'temporal server')!;
  expect(server.status).toBe('fail');
  expect(server.detail).toContain(address);
  expect(server.remedy).toContain('TEMPORAL_ADDRESS');
});

test('doctor and watch say what to set when the named server requires TLS', async () => {
  const server = createServer(tlsCertificate).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const environment = { TEMPORAL_ADDRESS: `127.0.0.1:${port}` };
  const [{ stdout }, watch] = await Promise.all([
    temper(['doctor', '--json'], environment),
    temper(['watch', 'some-run'], environment),
  ]);
  server.close();
  expect(watch.code).toBe(75);
  expect(watch.stderr).toContain('TEMPORAL_TLS=true');
  const { findings } = JSON.parse(stdout) as { findings: Record<string, string>[] };
  expect(findings.find(({ name }) => name === 'temporal server')!.remedy).toContain('TEMPORAL_TLS=true');
}, 60_000);

test('watch exits with 75 when the server does not answer, and names its address', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  const { code, stderr } = await temper(['watch', 'some-run'], { TEMPORAL_ADDRESS: address });
  expect(code).toBe(75);
  expect(stderr).toContain(address);
}, 60_000);
