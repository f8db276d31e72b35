/** `temper evaluate` from command line to scores. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { runTemper } from '../support/temper_command.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTokenizedModel } from '../support/tokenized_model.js';

const folder = temporaryFolder();

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

const evaluate = (...options: string[]) =>
  runTemper(['evaluate', '--model', 'model', ...options], { cwd: folder });

test('evaluate --json prints one object with value, standard error and number of examples of every metric', async () => {
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

test('evaluate without --json prints a line for each metric', async () => {
  const { stdout } = await evaluate('--task', 'perplexity:path=text.txt,documents=paragraph');
  const rows = stdout.trim().split('\n');
  expect(rows).toHaveLength(4);
  for (const row of rows) expect(row).toMatch(/^perplexity\/\w+ +↓ +[\d.]+ +± [\d.]+ +n 2$/);
});

test('--tasks reads a file whose paths start at its folder, and --output writes every example', async () => {
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

test('--precision bf16 computes in bfloat16, with results close to those of float32 but not equal', async () => {
  const { stdout: full } = await evaluate('--task', 'perplexity:path=text.txt', '--json');
  const { stdout: half } = await evaluate(
    '--task',
    'perplexity:path=text.txt',
    '--json',
    '--precision',
    'bf16',
  );
  const [float32, bfloat16] = [full, half].map(
    (text) => JSON.parse(text).tasks[0].metrics.token_perplexity.value as number,
  );
  expect(bfloat16).not.toBe(float32);
  expect(Math.abs(bfloat16! / float32! - 1)).toBeLessThan(0.02);
});

test.each([
  ['no task', [], 2, 'no task: give --task'],
  ['an unknown task', ['--task', 'hellaswg:path=rows.jsonl'], 2, "did you mean 'hellaswag'?"],
  ['an unknown key', ['--task', 'squad:pth=rows.jsonl'], 2, "did you mean 'path'?"],
  [
    'two tasks of one name',
    ['--task', 'squad:path=a', '--task', 'squad:path=b'],
    2,
    "two tasks are called 'squad'",
  ],
  [
    'a file that does not exist',
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
])('evaluate with %s is refused, and the message says what to do', async (_what, options, code, message) => {
  const result = await evaluate(...options);
  expect(result.stderr).toContain(message);
  expect(result.code).toBe(code);
  expect(result.stdout).toBe('');
});
