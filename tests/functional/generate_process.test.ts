/** The process that holds ONNX Runtime: killed, orphaned, and with bad input. */
import { fork } from 'node:child_process';
import path from 'node:path';
import { Generator, GeneratorLost, samplingSchema } from '../../components/generation/index.js';
import { exportModelFolder } from '../../recipes/index.js';
import { DataError, ModelError } from '../../shared/errors.js';
import { identifyProcess } from '../../shared/process_identity.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTinyTextModel } from '../support/tiny_text_model.js';
import { until } from '../support/until.js';

const folder = temporaryFolder();
const sampling = samplingSchema.parse({});
let onnx: string;
let generator: Generator;

beforeAll(async () => {
  const model = path.join(folder, 'model');
  await writeTinyTextModel(model);
  onnx = (await exportModelFolder(model, null, 'fp32', path.join(folder, 'onnx'))).model;
  generator = await Generator.open({ onnx, eosTokenIds: [], contextLength: 2048, threads: 1, batchSize: 3 });
});
afterAll(() => generator.close());

const request = (ids: number[], maxNewTokens: number) => ({ ids, maxNewTokens, sampling });
const hasExited = (pid: number) => identifyProcess(pid) === null;

test('an answer whose process is killed fails as GeneratorLost, and a retry gives the same answer', async () => {
  const fullAnswer = await generator.generate([request([5, 6, 7], 40)]);
  const pid = (await generator.pid())!;
  let tokens = 0;
  const onToken = () => {
    tokens += 1;
    if (tokens === 10) process.kill(pid, 'SIGKILL');
    return false;
  };
  const attempt = generator.generate([request([5, 6, 7], 2000)], { onToken });
  await expect(attempt).rejects.toThrow(GeneratorLost);
  await expect(attempt).rejects.toThrow('killed by SIGKILL');
  expect(await generator.generate([request([5, 6, 7], 40)])).toEqual(fullAnswer);
  expect(await generator.pid()).not.toBe(pid);
});

test('the process of a generator exits when its parent is killed', async () => {
  const parent = fork(path.join(import.meta.dirname, 'support/generating_parent.js'), [onnx]);
  const pid = await new Promise<number>((resolve) =>
    parent.once('message', (number) => resolve(number as number)),
  );
  expect(hasExited(pid)).toBe(false);
  parent.kill('SIGKILL');
  await until('the process to end', () => hasExited(pid));
});

test('an aborted answer rejects with the reason, and the next call is answered', async () => {
  const abort = new AbortController();
  const onToken = () => {
    abort.abort(new Error('enough'));
    return false;
  };
  const pid = await generator.pid();
  const attempt = generator.generate([request([1], 2000)], { onToken, signal: abort.signal });
  await expect(attempt).rejects.toThrow('enough');
  expect(await generator.generate([request([1], 3)])).toHaveLength(1);
  expect(await generator.pid()).toBe(pid);
});

test('an answer ends with the token at which the caller stops', async () => {
  const [whole] = await generator.generate([request([1, 2], 9)]);
  let count = 0;
  const [stopped] = await generator.generate([request([1, 2], 9)], { onToken: () => ++count === 4 });
  expect(stopped).toEqual({ ids: whole!.ids.slice(0, 4), finish: 'stop' });
});

test('answers do not depend on the other prompts of their batch', async () => {
  const drawing = (seed: number) => samplingSchema.parse({ temperature: 0.8, topK: 50, seed });
  const requests = [3, 40, 1, 17, 8, 25, 2].map((length, number) => ({
    ids: Array.from({ length }, (_, i) => (7 * i + 11 * number) % 200),
    maxNewTokens: 5 + 9 * number,
    sampling: number % 2 === 0 ? sampling : drawing(number),
  }));
  const batchAnswers = await generator.generate(requests);
  const singleAnswers = [];
  for (const single of requests) singleAnswers.push(...(await generator.generate([single])));
  expect(batchAnswers).toEqual(singleAnswers);
  expect(batchAnswers.map(({ ids }) => ids.length)).toEqual(requests.map(({ maxNewTokens }) => maxNewTokens));
});

test('a limit of the cache makes batches smaller, and changes no answer', async () => {
  const requests = [9, 30, 12].map((length) =>
    request(
      Array.from({ length }, (_, i) => i),
      20,
    ),
  );
  const options = { onnx, eosTokenIds: [], contextLength: 2048, threads: 1 };
  const narrow = await Generator.open({ ...options, cacheBytes: 1 });
  try {
    expect(await narrow.generate(requests)).toEqual(await generator.generate(requests));
  } finally {
    await narrow.close();
  }
});

test('an end-of-sequence token ends an answer and is not part of it', async () => {
  const [whole] = await generator.generate([request([4, 5], 12)]);
  const eos = whole!.ids[6]!;
  const ending = await Generator.open({ onnx, eosTokenIds: [eos], contextLength: 2048, threads: 1 });
  try {
    const [answer] = await ending.generate([request([4, 5], 12)]);
    expect(answer).toEqual({ ids: whole!.ids.slice(0, whole!.ids.indexOf(eos)), finish: 'eos' });
  } finally {
    await ending.close();
  }
});

test('an answer ends at the end of the context', async () => {
  const shortGenerator = await Generator.open({ onnx, eosTokenIds: [], contextLength: 16, threads: 1 });
  try {
    const [answer] = await shortGenerator.generate([request([1, 2, 3], 100)]);
    expect(answer).toMatchObject({ finish: 'length' });
    expect(answer!.ids).toHaveLength(13);
    const fullPrompt = Array.from({ length: 16 }, () => 1);
    await expect(shortGenerator.generate([request(fullPrompt, 1)])).rejects.toThrow(
      new DataError(
        "request 1: the prompt of 16 tokens leaves no room for an answer in the model's context of 16",
      ),
    );
  } finally {
    await shortGenerator.close();
  }
});

test.each([
  ['no tokens', request([], 1), 'no tokens'],
  ['an id outside the vocabulary', request([1, 100_000], 1), '100000'],
  ['a negative number of tokens', request([1], -1), 'maxNewTokens'],
])('a request with %s is refused before anything runs', async (_, badRequest, message) => {
  const attempt = generator.generate([request([1], 1), badRequest]);
  await expect(attempt).rejects.toThrow(DataError);
  await expect(attempt).rejects.toThrow(message);
});

test('opening a file that is not an ONNX model is a ModelError', async () => {
  const configFile = path.join(folder, 'model', 'config.json');
  const options = { onnx: configFile, eosTokenIds: [], contextLength: 8, threads: 1 };
  await expect(Generator.open(options)).rejects.toThrow(ModelError);
});
