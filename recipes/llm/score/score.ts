/** `temper score`: JSON lines of documents in, JSON lines of log-probabilities out, in the same order. */
import { resolveModel } from '../../../components/models/index.js';
import { loadTokenizer, type ModelTokenizer } from '../../../components/tokenizer/index.js';
import { ModelError, UsageError } from '../../../shared/errors.js';
import type { StepHooks } from '../../run/progress.js';
import { openFile } from '../open_file.js';
import { readRequests, type ScoreRequest } from './score_lines.js';
import { Scorer, standardBuffer } from './scorer.js';

export interface ScoreOptions {
  /** Folder, .gguf file or Hugging Face id. */
  model: string;
  /** PEFT adapter folder, or null. */
  adapter: string | null;
  precision: 'fp32' | 'bf16';
  /** Files, on disk or s3://. */
  input: string;
  output: string;
}

export interface ScoreSummary {
  documents: number;
  tokens: number;
  seconds: number;
}

/**
 * Scores a file. The output appears whole or not at all, and memory does not grow with the input. A model folder's or
 * adapter's faults are ModelError, a bad line is DataError with its file and number, no input is UsageError.
 */
export async function scoreFile(options: ScoreOptions, { progress }: StepHooks): Promise<ScoreSummary> {
  const input = await openFile(options.input);
  if ((await input.storage.size(input.key)) === null)
    throw new UsageError(`--input ${options.input}: there is no such file`);
  const output = await openFile(options.output);
  const { folder } = await resolveModel(options.model, {
    // What is rounded to bf16 here would be reported as the model's own log-probability in fp32.
    ggufDType: options.precision === 'fp32' ? 'f32' : 'bf16',
    onProgress: ({ stage, done, total }) => progress(total > 0 ? done / total : null, stage),
    onNotice: (text) => progress(null, text),
  });
  const scorer = await Scorer.open(folder, options);
  const started = performance.now();
  const summary: ScoreSummary = { documents: 0, tokens: 0, seconds: 0 };
  let tokenizer: Promise<ModelTokenizer> | null = null;
  const requests = readRequests(input.storage.readStream(input.key), {
    file: options.input,
    vocabularySize: scorer.model.vocabSize,
    tokenizer: () => {
      tokenizer ??= loadTokenizer(folder);
      return tokenizer;
    },
  });
  async function* outputLines(): AsyncGenerator<Uint8Array> {
    for await (const { documents, tokens, text } of scoreAll(scorer, requests)) {
      summary.documents += documents;
      summary.tokens += tokens;
      yield Buffer.from(text);
      progress(null, `scored ${summary.documents} documents, ${summary.tokens} tokens`);
    }
  }
  try {
    await output.storage.write(output.key, outputLines());
  } finally {
    await scorer.close();
  }
  summary.seconds = (performance.now() - started) / 1000;
  return summary;
}

interface ScoredBuffer {
  documents: number;
  tokens: number;
  /** Their lines. */
  text: string;
}

/** Scores buffer by buffer; while the engine has one, the next is read and tokenized. */
async function* scoreAll(
  scorer: Scorer,
  requests: AsyncIterable<ScoreRequest>,
): AsyncGenerator<ScoredBuffer> {
  let running: Promise<ScoredBuffer> | null = null;
  for await (const buffer of groupIntoBuffers(requests)) {
    const next = scoreBuffer(scorer, buffer);
    next.catch(() => undefined); // reported when it is awaited
    if (running !== null) yield await running;
    running = next;
  }
  if (running !== null) yield await running;
}

async function scoreBuffer(scorer: Scorer, buffer: readonly ScoreRequest[]): Promise<ScoredBuffer> {
  const scores = await scorer.score(buffer.map(({ ids }) => ids));
  const text = buffer.map(({ from }, i) => formatLine(scores[i]!.subarray(from))).join('');
  const tokens = buffer.reduce((sum, { ids }) => sum + ids.length, 0);
  return { documents: buffer.length, tokens, text };
}

/** Yields the requests in their order, as many as a standard buffer holds; a longer document is by itself. */
async function* groupIntoBuffers(requests: AsyncIterable<ScoreRequest>): AsyncGenerator<ScoreRequest[]> {
  let buffer: ScoreRequest[] = [];
  let tokens = 0;
  for await (const request of requests) {
    const full = tokens + request.ids.length > standardBuffer || buffer.length >= standardBuffer;
    if (full && buffer.length > 0) {
      yield buffer;
      [buffer, tokens] = [[], 0];
    }
    buffer.push(request);
    tokens += request.ids.length;
  }
  if (buffer.length > 0) yield buffer;
}

/** Formats log-probabilities with nine digits, which distinguish every float32 from its neighbors. */
function formatLine(logprobs: Float32Array): string {
  if (!logprobs.every(Number.isFinite))
    throw new ModelError('the model returned a log-probability that is not finite: its weights are damaged');
  return `{"logprobs":[${Array.from(logprobs, (value) => Number(value.toPrecision(9))).join(',')}]}\n`;
}
