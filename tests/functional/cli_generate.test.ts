/** `temper generate` and `temper chat`: answers to a file and to a line, and messages about bad input. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { openModel } from '../../components/models/index.js';
import {
  type Answer,
  type AnswerOptions,
  generateFile,
  openTextGenerator,
  type TextGenerator,
} from '../../recipes/index.js';
import { DataError, ModelError } from '../../shared/errors.js';
import { writeAdapter } from '../support/adapter_folder.js';
import { golden } from '../support/goldens.js';
import { type CommandResult, runTemper, temperCommand } from '../support/temper_command.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTinyTextModel } from '../support/tiny_text_model.js';

const folder = temporaryFolder();
const cache = path.join(folder, 'cache');
const model = path.join(folder, 'model');
const bare = path.join(folder, 'bare');
const hooks = { progress: () => undefined, signal: new AbortController().signal };
const greedy = { maxNewTokens: 12 };
let generator: TextGenerator;

const open = (name = model, adapter: string | null = null) =>
  openTextGenerator({ model: name, adapter, precision: 'fp32', threads: 1, batchSize: 4 }, hooks);

beforeAll(async () => {
  process.env.TEMPER_CACHE = cache;
  process.env.TEMPER_THREADS = '1';
  await writeTinyTextModel(model);
  await writeTinyTextModel(bare, { chat: false });
  generator = await open();
});
afterAll(() => generator.close());

const prompts = ['Hello', 'The capital of France is', 'One, two, three, and then a longer one', 'é'];

/** Writes an adapter of the first layer's q_proj that changes the model's answers. */
async function writeRandomAdapter(adapter: string): Promise<void> {
  await mkdir(adapter);
  const module = 'model.layers.0.self_attn.q_proj';
  const { linearModules } = await openModel(model);
  const options = { rank: 2, alpha: 64, rslora: false, dropout: 0 };
  const values = Float32Array.from({ length: 2 * 64 }, (_, i) => Math.sin(i * i));
  const sources = (['A', 'B'] as const).map((kind) => ({
    name: `${module}.lora_${kind}.weight`,
    dtype: 'F32' as const,
    shape: kind === 'A' ? [2, 64] : [64, 2],
    chunks: () => [new Uint8Array(values.buffer)],
  }));
  const linears = linearModules.map((linear) => linear.module);
  await writeAdapter(adapter, { options, modules: [module], linears, baseModel: model }, sources);
}

describe('answers', () => {
  test('a conversation is put into the chat template, and a text is used unchanged', async () => {
    const chat = generator.encode([{ role: 'user', content: 'Hello' }]);
    expect(chat).toEqual(generator.encode('user: Hello\nassistant: '));
    const [answer] = await generator.generate([[{ role: 'user', content: 'Hello' }]], greedy);
    expect(await generator.generate(['user: Hello\nassistant: '], greedy)).toEqual([answer]);
  });

  test('the streamed pieces add up to the answers', async () => {
    const streamedTexts = prompts.map(() => '');
    const onText = (prompt: number, text: string) => {
      streamedTexts[prompt] += text;
      return false;
    };
    const answers = await generator.generate(prompts, greedy, { onText });
    expect(streamedTexts).toEqual(answers);
    expect(await generator.generate(prompts, greedy)).toEqual(answers);
  });

  test('an answer ends before a stop string, wherever the tokens of that begin', async () => {
    const [whole] = await generator.answer(['Hello'], { maxNewTokens: 40 });
    const stop = whole!.text.slice(9, 14);
    const [cut] = await generator.answer(['Hello'], { maxNewTokens: 40, stop: [stop] });
    expect(cut).toMatchObject({ text: whole!.text.slice(0, whole!.text.indexOf(stop)), finish: 'stop' });
    expect(cut!.tokens).toBeLessThan(whole!.tokens);
  });

  test('draws depend on the seed and the number of the prompt, not on how prompts are batched', async () => {
    const options: AnswerOptions = { maxNewTokens: 12, temperature: 1.5, topP: 0.95, seed: 4 };
    const batchAnswers = await generator.generate(prompts, options);
    const singleAnswers = [];
    for (const [firstPrompt, prompt] of prompts.entries())
      singleAnswers.push(...(await generator.generate([prompt], { ...options, firstPrompt })));
    expect(singleAnswers).toEqual(batchAnswers);
    expect(await generator.generate(prompts, { ...options, seed: 5 })).not.toEqual(batchAnswers);
    expect((await generator.generate(['Hello', 'Hello'], options))[1]).not.toBe(batchAnswers[0]);
  });

  test('a repetition penalty changes the answers of greedy search', async () => {
    const penalized = await generator.generate(['Hello'], { maxNewTokens: 40, repetitionPenalty: 1.5 });
    expect(penalized).not.toEqual(await generator.generate(['Hello'], { maxNewTokens: 40 }));
  });
});

describe('the cached export', () => {
  const listExports = () => readdir(path.join(cache, 'onnx'));

  test('is made once for the same weights, even by several generators at a time, and once more for other weights', async () => {
    const copy = path.join(folder, 'other');
    await cp(model, copy, { recursive: true });
    const countBefore = (await listExports()).length;
    for (const copyGenerator of await Promise.all([open(copy), open(copy)])) await copyGenerator.close();
    expect(await listExports()).toHaveLength(countBefore);
    const weights = await readFile(path.join(copy, 'model.safetensors'));
    weights[weights.length - 2]! ^= 1;
    await writeFile(path.join(copy, 'model.safetensors'), weights);
    for (const copyGenerator of await Promise.all([open(copy), open(copy), open(copy)]))
      await copyGenerator.close();
    expect(await listExports()).toHaveLength(countBefore + 1);
  });

  test('of a model with an adapter is another one, with other answers', async () => {
    const adapter = path.join(folder, 'adapter');
    await writeRandomAdapter(adapter);
    const countBefore = (await listExports()).length;
    const adapted = await open(model, adapter);
    try {
      expect(await adapted.generate(prompts, greedy)).not.toEqual(await generator.generate(prompts, greedy));
    } finally {
      await adapted.close();
    }
    expect(await listExports()).toHaveLength(countBefore + 1);
  });

  test('that was used longest ago is removed when there would be a fifth', async () => {
    const [oldest] = await listExports();
    const home = path.join(cache, 'onnx');
    const partial = `killed.${'0'.repeat(16)}-1-1.${randomUUID()}.partial`;
    await mkdir(path.join(home, partial), { recursive: true });
    for (const name of ['a', 'b', 'c', 'd']) await mkdir(path.join(home, name));
    for (const [days, name] of [oldest!, 'a', 'b', 'c', 'd', partial].entries()) {
      const lastUse = new Date(Date.now() - (9 - days) * 86_400_000);
      await utimes(path.join(home, name), lastUse, lastUse);
    }
    for (const name of await listExports()) {
      if (/^[0-9a-f]{32}$/.test(name) && name !== oldest)
        await rm(path.join(home, name), { recursive: true });
    }
    const third = path.join(folder, 'third');
    await cp(model, third, { recursive: true });
    const config = JSON.parse(await readFile(path.join(third, 'config.json'), 'utf8')) as object;
    await writeFile(path.join(third, 'config.json'), JSON.stringify({ ...config, rms_norm_eps: 0.01 }));
    await (await open(third)).close();
    const exports = await listExports();
    expect(exports).toHaveLength(4);
    expect(exports).toEqual(expect.arrayContaining(['b', 'c', 'd']));
  });

  test('is refused for a folder that is not an adapter, and for an adapter that does not fit', async () => {
    await expect(open(model, folder)).rejects.toThrow(ModelError);
    await expect(open(model, golden('peft', 'lora'))).rejects.toThrow('the adapter does not fit');
  });
});

describe('generate with a file', () => {
  const input = path.join(folder, 'in.jsonl');
  const output = path.join(folder, 'out.jsonl');

  async function answer(lines: readonly object[], chat = true): Promise<Record<string, unknown>[]> {
    writeFileSync(input, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    await generateFile(generator, { ...greedy, input, output, chat }, hooks);
    const outputLines = readFileSync(output, 'utf8').trimEnd().split('\n');
    return outputLines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  test('writes an answer for each line, in order, next to the prompt', async () => {
    const lines = [
      { id: 1, prompt: 'Hello' },
      { id: 2, messages: [{ role: 'user', content: 'Hello' }] },
      { id: 3, prompt: 'The capital of France is' },
    ];
    const answers = await answer(lines);
    const [hello] = await generator.answer([[{ role: 'user', content: 'Hello' }]], greedy);
    const { text: completion, finish } = hello as Answer;
    expect(answers.slice(0, 2)).toEqual(lines.slice(0, 2).map((line) => ({ ...line, completion, finish })));
    expect(answers[2]).toMatchObject({ id: 3 });
    const [raw] = await answer([{ prompt: 'Hello' }], false);
    expect(raw!.completion).toBe((await generator.generate(['Hello'], greedy))[0]);
  });

  test.each([
    ['without a prompt', { text: 'Hello' }, 'in.jsonl:2: a line needs "prompt"'],
    ['with a message that is not an object', { messages: ['Hello'] }, 'in.jsonl:2: each of "messages"'],
    ['longer than the context', { prompt: 'word '.repeat(3000) }, 'in.jsonl:2: the prompt of'],
  ])('refuses a line %s, and leaves an earlier output unchanged', async (_, line, message) => {
    await answer([{ prompt: 'Hello' }]);
    const outputBefore = readFileSync(output, 'utf8');
    const attempt = answer([{ prompt: 'Hello' }, line]);
    await expect(attempt).rejects.toThrow(DataError);
    await expect(attempt).rejects.toThrow(message);
    expect(readFileSync(output, 'utf8')).toBe(outputBefore);
  });
});

const temper = (parameters: readonly string[], input = ''): Promise<CommandResult> =>
  runTemper(parameters, { cwd: folder, input });

describe('the command', () => {
  const answering = ['--model', 'model', '--max-new-tokens', '12'];

  test('generate prints only the answer on stdout', async () => {
    const { code, stdout, stderr } = await temper([
      'generate',
      ...answering,
      '--prompt',
      'Hello',
      '--seed=3',
    ]);
    const [text] = await generator.generate([[{ role: 'user', content: 'Hello' }]], greedy);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${text}\n` });
    expect(stderr).toMatch(/12 tokens .* ended by length/);
  });

  test('generate --raw leaves the prompt unchanged, as does a model without a chat template', async () => {
    const { stdout } = await temper(['generate', ...answering, '--raw', '--prompt', 'Hello']);
    expect(stdout).toBe(`${(await generator.generate(['Hello'], greedy))[0]}\n`);
    const untemplated = ['generate', '--model', 'bare', '--max-new-tokens', '12', '--prompt', 'Hello'];
    expect((await temper(untemplated)).stdout).toBe(stdout);
  });

  test.each([
    [['generate', '--model', 'model'], '--prompt'],
    [['generate', '--model', 'model', '--prompt', 'a', '--input', 'b'], '--prompt'],
    [['generate', '--model', 'model', '--input', 'b'], '--output'],
    [['generate', '--model', 'model', '--prompt', 'a', '--top-p', '0'], 'top-p: 0'],
    [['generate', '--model', 'model', '--prompt', 'a', '--max-new-tokens', '1.5'], 'max-new-tokens: 1.5'],
    [['generate', '--model', 'model', '--prompt', 'a', '--stop='], '--stop'],
    [['chat', '--model', 'bare'], 'chat template'],
    [['generate', '--model', 'model', '--input', 'none.jsonl', '--output', 'x'], 'none.jsonl'],
  ])('%j is a usage error that exits with 2 and names what is wrong', async (parameters, named) => {
    const { code, stderr } = await temper(parameters);
    expect({ code, named: stderr.includes(named) }).toEqual({ code: 2, named: true });
  });

  test('generate with a model that does not exist exits with 1 and names it', async () => {
    const { code, stderr } = await temper(['generate', '--model', './nothing', '--prompt', 'a']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: './nothing: no such folder\n' });
  });

  test('chat answers each line as part of the conversation so far, and /reset starts over', async () => {
    const { code, stdout, stderr } = await temper(
      ['chat', ...answering],
      'Hello\nAnd then?\n/reset\nHello\n',
    );
    const question = { role: 'user', content: 'Hello' };
    const [firstAnswer] = await generator.generate([[question]], greedy);
    const history = [
      question,
      { role: 'assistant', content: firstAnswer! },
      { role: 'user', content: 'And then?' },
    ];
    const [secondAnswer] = await generator.generate([history], greedy);
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `${firstAnswer}\n${secondAnswer}\n${firstAnswer}\n`,
    });
    expect(stderr).toMatch(/3 answers, 36 tokens/);
  });

  test('chat continues after the process that computes was killed', async () => {
    const child = spawn(temperCommand, ['chat', '--model', 'model', '--max-new-tokens', '600'], {
      cwd: folder,
    });
    let [stdout, stderr] = ['', ''];
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdin.write('Hello\n');
    await new Promise<void>((resolve) => {
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
        resolve();
      });
    });
    const [computingPid] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ');
    process.kill(Number(computingPid), 'SIGKILL');
    child.stdin.end('Hello\n');
    const code = await new Promise((resolve) => child.on('close', resolve));
    const [whole] = await generator.generate([[{ role: 'user', content: 'Hello' }]], { maxNewTokens: 600 });
    expect(code).toBe(0);
    expect(stderr).toContain('killed by SIGKILL');
    expect(stdout.endsWith(`\n${whole}\n`)).toBe(true);
  }, 120_000);

  test('chat puts the system prompt first', async () => {
    const { stdout } = await temper(['chat', ...answering, '--system', 'Be brief.'], 'Hello\n');
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hello' },
    ];
    expect(stdout).toBe(`${(await generator.generate([messages], greedy))[0]}\n`);
  });
});
