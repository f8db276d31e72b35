/** A model folder as tasks see it: log-likelihoods on the engine, answers on ONNX Runtime; each opened when first asked for. */
import type {
  AnswerOptions,
  EvaluatedModel,
  Likelihood,
  Prompt,
} from '../../../components/evaluation/index.js';
import { loadTokenizer, type ModelTokenizer } from '../../../components/tokenizer/index.js';
import { ModelError } from '../../../shared/errors.js';
import type { StepHooks } from '../../run/progress.js';
import { TextGenerator } from '../generate/generate.js';
import { Scorer, standardBuffer } from '../score/scorer.js';
import { continuationTokens, type Request, rollingWindows } from './likelihood_requests.js';

export interface EvaluatedModelOptions {
  /** Model folder. */
  folder: string;
  /** PEFT adapter folder, or null. */
  adapter: string | null;
  /** Precision of the engine's matrix products and activations. */
  precision: 'fp32' | 'bf16';
  /** Device that log-likelihoods are computed on, e.g. `cpu:0`. */
  device: string;
  hooks: StepHooks;
  /** Tokens scored and answers given since it was opened. */
  onWork?: (done: { tokens: number; answers: number }) => void;
}

export class FolderModel implements EvaluatedModel {
  #scorer: Scorer | null = null;
  #generator: TextGenerator | null = null;
  readonly #done = { tokens: 0, answers: 0 };
  readonly #options: EvaluatedModelOptions;
  readonly #tokenizer: ModelTokenizer;

  private constructor(options: EvaluatedModelOptions, tokenizer: ModelTokenizer) {
    this.#options = options;
    this.#tokenizer = tokenizer;
  }

  static async open(options: EvaluatedModelOptions): Promise<FolderModel> {
    return new FolderModel(options, await loadTokenizer(options.folder));
  }

  get hasChatTemplate(): boolean {
    return this.#tokenizer.hasChatTemplate;
  }

  async loglikelihoods(pairs: readonly { context: string; continuation: string }[]): Promise<Likelihood[]> {
    const { model } = await this.#engine();
    const { maxPositions } = model;
    const prefix = this.#prefixId();
    // The choices of a question share its context.
    const idsByText = new Map<string, number[]>();
    const encode = (text: string): number[] => {
      const ids = idsByText.get(text) ?? this.#encode(text);
      idsByText.set(text, ids);
      return ids;
    };
    const requests = pairs.map(({ context, continuation }) =>
      continuationTokens(context, continuation, { encode, prefix, maxPositions }),
    );
    return this.#score(requests);
  }

  async rollingLoglikelihoods(texts: readonly string[]): Promise<Likelihood[]> {
    const { model } = await this.#engine();
    const prefix = this.#prefixId();
    const windows = texts.map((text) => rollingWindows(this.#encode(text), prefix, model.maxPositions));
    const scored = (await this.#score(windows.flat()))[Symbol.iterator]();
    return windows.map((textWindows) =>
      textWindows.reduce<Likelihood>(
        (sum) => {
          const { logprob, tokens } = scored.next().value!;
          return { logprob: sum.logprob + logprob, tokens: sum.tokens + tokens };
        },
        { logprob: 0, tokens: 0 },
      ),
    );
  }

  async generate(prompts: readonly Prompt[], options: AnswerOptions): Promise<string[]> {
    const { folder: modelFolder, adapter, hooks } = this.#options;
    // Reductions of the exported graph are float32; half precision would only save memory here.
    this.#generator ??= await TextGenerator.open({ modelFolder, adapter, precision: 'fp32' }, hooks);
    const answers = await this.#generator.generate(prompts, options, { signal: hooks.signal });
    this.#done.answers += answers.length;
    return answers;
  }

  async close(): Promise<void> {
    await this.#scorer?.close();
    await this.#generator?.close();
  }

  readonly #encode = (text: string): number[] =>
    this.#tokenizer.encode(text, { addSpecial: false, offsets: false }).ids;

  /** Returns the token for an empty context: the model's beginning token, else its end token. */
  #prefixId(): number {
    const id = this.#tokenizer.bosId ?? this.#tokenizer.eosId;
    if (id === null)
      throw new ModelError(`${this.#options.folder}: its tokenizer has neither a bos_token nor an eos_token`);
    return id;
  }

  async #engine(): Promise<Scorer> {
    this.#scorer ??= await Scorer.open(this.#options.folder, this.#options);
    return this.#scorer;
  }

  /**
   * Scores the longest first, as many as a standard buffer holds at a time; results are in the order of the requests.
   */
  async #score(requests: readonly Request[]): Promise<Likelihood[]> {
    const scorer = await this.#engine();
    const order = requests
      .map((_, index) => index)
      .sort((a, b) => requests[b]!.ids.length - requests[a]!.ids.length);
    const results = new Array<Likelihood>(requests.length);
    for (const buffer of groupIntoBuffers(order, requests)) {
      const scores = await scorer.score(buffer.map((index) => requests[index]!.ids));
      for (const [position, index] of buffer.entries()) {
        const logprobs = scores[position]!.subarray(requests[index]!.from);
        results[index] = {
          logprob: logprobs.reduce((sum, logprob) => sum + logprob, 0),
          tokens: logprobs.length,
        };
        this.#done.tokens += requests[index]!.ids.length;
      }
      this.#options.onWork?.(this.#done);
    }
    return results;
  }
}

function* groupIntoBuffers(order: readonly number[], requests: readonly Request[]): Generator<number[]> {
  let buffer: number[] = [];
  let tokens = 0;
  for (const index of order) {
    const { length } = requests[index]!.ids;
    if (buffer.length > 0 && tokens + length > standardBuffer) {
      yield buffer;
      [buffer, tokens] = [[], 0];
    }
    buffer.push(index);
    tokens += length;
  }
  if (buffer.length > 0) yield buffer;
}
