/**
 * Our side of bench/generate.ts: Generator, as everything uses it. Takes GenerateOptions as JSON in its first argument;
 * then, for every line on stdin, answers all prompts and prints a GenerateResult.
 */
import { createInterface } from 'node:readline';
import { Generator } from '../components/generation/index.js';

export interface GenerateOptions {
  /** Model folder, for the peer. */
  model: string;
  /** ONNX file, for our side. */
  onnx: string;
  prompts: number[][];
  newTokens: number;
  threads: number;
  precision: string;
}

export interface GenerateResult {
  /** Seconds until the first token of every prompt has arrived, and until the last. */
  first: number;
  total: number;
  /** Tokens of the first answer. */
  ids: number[];
}

const options = JSON.parse(process.argv[2]!) as GenerateOptions;
const generator = await Generator.open({
  onnx: options.onnx,
  eosTokenIds: [],
  contextLength: 1 << 20,
  threads: options.threads,
  batchSize: options.prompts.length,
});
const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0, stream: 0 };

process.stdout.write('ready\n');
for await (const _ of createInterface({ input: process.stdin })) {
  const start = performance.now();
  let tokens = 0;
  let first = 0;
  const onToken = (): boolean => {
    tokens += 1;
    if (tokens === options.prompts.length) first = (performance.now() - start) / 1e3;
    return false;
  };
  const requests = options.prompts.map((ids) => ({ ids, maxNewTokens: options.newTokens, sampling }));
  const answers = await generator.generate(requests, { onToken });
  const total = (performance.now() - start) / 1e3;
  const result: GenerateResult = { first, total, ids: answers[0]!.ids };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
await generator.close();
