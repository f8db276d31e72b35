/** `temper evaluate` from command line to scores. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTokenizedModel } from '../support/tokenized_model.js';

const folder = temporaryFolder();
const temper = path.resolve(import.meta.dirname, '../../../bin/temper');

beforeAll(async () => {
  await writeTokenizedModel(path.join(folder, 'model'));
  const rows = ['one', 'two', 'three'].map((word, index) => ({
    question: `Number ${index + 1}?`,
    choices: ['one', 'two', 'three'],
    answerKey: word,
  }));
  await writeFile(path.join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  await writeFile(path.join(folder, 'text.txt'), 'a b\n\nc d e\n');
});

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

const evaluate = (...options: string[]): Promise<Ran> =>
  new Promise((resolve) => {
    const args = ['evaluate', '--model', 'model', ...options];
    execFile(temper, args, { cwd: folder }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });

test('--json leaves one object with value, standard error and number of examples of every metric', async () => {
  const { code, stdout } = await evaluate(
    '--task',
    'colors=multiple_choice:path=rows.jsonl,limit=2',
    '--json',
  );
  expect(code).toBe(0);
  const result = JSON.parse(stdout);
  const score = { value: expect.any(Number), stderr: expect.any(Number), n: 2, direction: 'higher' };
  expect(result).toMatchObject({
    model: 'model',
    adapter: null,
    precision: 'fp32',
    tasks: [{ name: 'colors', task: 'multiple_choice', metrics: { acc: score, acc_norm: score } }],
  });
});

test('without it, a line for each metric', async () => {
  const { stdout } = await evaluate('--task', 'perplexity:path=text.txt,documents=paragraph');
  const rows = stdout.trim().split('\n');
  expect(rows).toHaveLength(4);
  for (const row of rows) expect(row).toMatch(/^perplexity\/\w+ +↓ +[\d.]+ +± [\d.]+ +n 2$/);
});

test('--tasks takes a file, whose paths start at its folder, and --output has every example', async () => {
  await writeFile(
    path.join(folder, 'tasks.yaml'),
    'tasks:\n  - {task: multiple_choice, path: rows.jsonl}\n  - {task: perplexity, path: text.txt}\n',
  );
  const { code } = await evaluate('--tasks', 'tasks.yaml', '--output', 'examples.jsonl', '--json');
  expect(code).toBe(0);
  const text = await readFile(path.join(folder, 'examples.jsonl'), 'utf8');
  const examples = text.trim().split('\n');
  expect(examples.map((line) => JSON.parse(line).task)).toEqual([
    ...Array.from({ length: 3 }, () => 'multiple_choice'),
    'perplexity',
  ]);
  expect(JSON.parse(examples[1]!)).toMatchObject({
    id: 'line 2',
    gold: 1,
    context: 'Question: Number 2?\nAnswer:',
  });
});

test('--precision bf16 computes in bfloat16: near, and not the same', async () => {
  const { stdout: full } = await evaluate('--task', 'perplexity:path=text.txt', '--json');
  const { stdout: half } = await evaluate(
    '--task',
    'perplexity:path=text.txt',
    '--json',
    '--precision',
    'bf16',
  );
  const [a, b] = [full, half].map(
    (text) => JSON.parse(text).tasks[0].metrics.token_perplexity.value as number,
  );
  expect(b).not.toBe(a);
  expect(Math.abs(b! / a! - 1)).toBeLessThan(0.02);
});

test.each([
  ['no task', [], 2, 'no task: give --task'],
  ['an unknown task', ['--task', 'hellaswg:path=rows.jsonl'], 2, "did you mean 'hellaswag'?"],
  ['an unknown key', ['--task', 'squad:pth=rows.jsonl'], 2, "did you mean 'path'?"],
  [
    'two tasks of a name',
    ['--task', 'squad:path=a', '--task', 'squad:path=b'],
    2,
    "two tasks are called 'squad'",
  ],
  [
    'a file that is not there',
    ['--task', 'squad:path=nowhere.json'],
    1,
    'nowhere.json: there is no such file',
  ],
  [
    'few-shot without examples',
    ['--task', 'hellaswag:path=rows.jsonl,num_fewshot=2'],
    2,
    'needs fewshot_path',
  ],
  [
    'rows of another task',
    ['--task', 'hellaswag:path=rows.jsonl'],
    1,
    "rows.jsonl: line 1: lacks the column 'label'",
  ],
])('%s is refused with what to do', async (_what, options, code, message) => {
  const ran = await evaluate(...options);
  expect(ran.stderr).toContain(message);
  expect(ran.code).toBe(code);
  expect(ran.stdout).toBe('');
});
