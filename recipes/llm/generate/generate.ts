/** Text from text: tokenizer and chat template, and the model exported to ONNX and run by ONNX Runtime. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import {
  type Generated,
  type GenerationRequest,
  Generator,
  samplingSchema,
} from '../../../components/generation/index.js';
import { type Model, openModel, resolveModel } from '../../../components/models/index.js';
import { loadTokenizer, type ModelTokenizer } from '../../../components/tokenizer/index.js';
import { defaultThreads } from '../../../engine/index.js';
import { DataError, ModelError } from '../../../shared/errors.js';
import type { AnswerOptions, Prompt } from '../../../shared/text.js';
import type { StepHooks } from '../../run/progress.js';
import { type CachedModel, cachedOnnx } from '../onnx/onnx_cache.js';
import { onnxContext } from '../onnx/onnx_files.js';
import { TextStream } from './text_stream.js';

export interface TextGeneratorOptions extends CachedModel {
  /** Default: the engine's. */
  threads?: number;
  /** Prompts that are answered together. */
  batchSize?: number;
  /** For conversations: a prompt continues from what was computed for the one before it. */
  reusePrompts?: boolean;
}

export interface AnswerHooks {
  /** Text of an answer as it comes, in whole characters; true ends the answer. */
  onText?: (prompt: number, text: string) => boolean;
  /** Every token of an answer as it comes. */
  onToken?: (prompt: number) => void;
  signal?: AbortSignal;
}

export interface Answer {
  text: string;
  finish: Generated['finish'];
  /** Tokens of the answer. */
  tokens: number;
}

/**
 * @example
 * const generator = await TextGenerator.open({ modelFolder, adapter: null, precision: 'fp32' }, hooks);
 * const [text] = await generator.generate([[{ role: 'user', content: 'Hello' }]], { maxNewTokens: 64 });
 * await generator.close();
 */
export class TextGenerator {
  readonly #generator: Generator;
  readonly #tokenizer: ModelTokenizer;

  private constructor(
    generator: Generator,
    tokenizer: ModelTokenizer,
    /** Tokens of prompt and answer together. */
    readonly contextLength: number,
  ) {
    this.#generator = generator;
    this.#tokenizer = tokenizer;
  }

  /**
   * Exports the model unless the cache has it, and loads it.
   * @throws ModelError where model or adapter do not fit
   */
  static async open(
    options: TextGeneratorOptions,
    hooks: Pick<StepHooks, 'progress'>,
  ): Promise<TextGenerator> {
    const { modelFolder, threads = defaultThreads(), batchSize, reusePrompts = false } = options;
    const model = await openModel(modelFolder);
    const tokenizer = await loadTokenizer(modelFolder);
    const generator = await Generator.open({
      onnx: await cachedOnnx(options, hooks),
      eosTokenIds: await eosTokenIds(modelFolder, model, tokenizer),
      contextLength: onnxContext(model),
      threads,
      reusePrompts,
      ...(batchSize !== undefined && { batchSize }),
    });
    return new TextGenerator(generator, tokenizer, onnxContext(model));
  }

  get hasChatTemplate(): boolean {
    return this.#tokenizer.hasChatTemplate;
  }

  /**
   * Returns the tokens of a prompt as the model gets it. A text gets what its tokenizer adds to texts, for many a BOS.
   */
  encode(prompt: Prompt): number[] {
    if (typeof prompt === 'string')
      return this.#tokenizer.encode(prompt, { addSpecial: true, offsets: false }).ids;
    const text = this.#tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true });
    return this.#tokenizer.encode(text, { addSpecial: false, offsets: false }).ids;
  }

  /** Returns the text of an answer to each prompt, in their order. */
  async generate(
    prompts: readonly Prompt[],
    options: AnswerOptions,
    hooks: AnswerHooks = {},
  ): Promise<string[]> {
    return (await this.answer(prompts, options, hooks)).map(({ text }) => text);
  }

  /**
   * Returns an answer to each prompt, in their order.
   * @throws DataError for a prompt that does not fit the model's context, GeneratorLost when the process that computes
   * dies; calling again starts another one
   */
  async answer(
    prompts: readonly Prompt[],
    options: AnswerOptions,
    hooks: AnswerHooks = {},
  ): Promise<Answer[]> {
    const { maxNewTokens, stop = [], firstPrompt = 0, ...given } = options;
    if (stop.includes('')) throw new DataError('a stop string is empty');
    const requests = prompts.map((prompt, i): GenerationRequest => {
      const sampling = samplingSchema.parse({ ...given, stream: firstPrompt + i });
      return { ids: this.encode(prompt), maxNewTokens, sampling };
    });
    const streams = prompts.map(() => new TextStream(this.#tokenizer, stop));
    const texts = prompts.map(() => '');
    const onToken = (request: number, id: number): boolean => {
      const { text, stopped } = streams[request]!.push(id);
      texts[request] += text;
      hooks.onToken?.(request);
      const ended = text !== '' && hooks.onText?.(request, text) === true;
      return stopped || ended;
    };
    const watched = stop.length > 0 || hooks.onText !== undefined || hooks.onToken !== undefined;
    const results = await this.#generator.generate(requests, {
      ...(watched && { onToken }),
      ...(hooks.signal && { signal: hooks.signal }),
    });
    return results.map(({ ids, finish }, i) => {
      if (!watched)
        return { text: this.#tokenizer.decode(ids, { skipSpecial: true }), finish, tokens: ids.length };
      const rest = finish === 'stop' ? '' : streams[i]!.end();
      if (rest !== '') hooks.onText?.(i, rest);
      return { text: texts[i]! + rest, finish, tokens: ids.length };
    });
  }

  close(): Promise<void> {
    return this.#generator.close();
  }
}

/** Opens a model by what it is called: a folder, a .gguf file or a Hugging Face id. */
export async function openTextGenerator(
  { model, ...options }: Omit<TextGeneratorOptions, 'modelFolder'> & { model: string },
  { progress }: Pick<StepHooks, 'progress'>,
): Promise<TextGenerator> {
  const { folder } = await resolveModel(model, {
    ggufDType: 'f32',
    onProgress: ({ stage, done, total }) => progress(total > 0 ? done / total : null, stage),
    onNotice: (text) => progress(null, text),
  });
  return TextGenerator.open({ ...options, modelFolder: folder }, { progress });
}

/**
 * Returns the end tokens as transformers finds them: in generation_config.json, else config.json, else the tokenizer.
 */
async function eosTokenIds(folder: string, model: Model, tokenizer: ModelTokenizer): Promise<number[]> {
  const file = path.join(folder, 'generation_config.json');
  const text = await readFile(file, 'utf8').catch(() => '{}');
  let declared: unknown;
  try {
    declared = (JSON.parse(text) as { eos_token_id?: unknown }).eos_token_id;
  } catch (cause) {
    throw new ModelError(`${file}: not valid JSON: ${(cause as Error).message}`, { cause });
  }
  const ids = Array.isArray(declared) ? declared : declared == null ? model.eosTokenIds : [declared];
  if (!ids.every((id) => Number.isInteger(id)))
    throw new ModelError(`${file}: eos_token_id must be a token id or a list of them`);
  return ids.length > 0 || tokenizer.eosId === null ? [...(ids as number[])] : [tokenizer.eosId];
}
