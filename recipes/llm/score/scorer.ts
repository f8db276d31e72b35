/** Log-probabilities of given tokens: documents packed into buffers, as in training, through plans of the buffers' sizes. */
import { fillCausalSpans } from '../../../components/datasets/llm/index.js';
import {
  locateWeights,
  type Model,
  openModel,
  type Weights,
  weightDTypes,
} from '../../../components/models/index.js';
import { type Adapter, readAdapter, readAdapterTensor } from '../../../components/peft/index.js';
import { createContext, defaultDevice, type EngineContext, type EnginePlan } from '../../../engine/index.js';
import { compileScoring, constantTensor, type TensorSpec } from '../../../graph/index.js';
import { ModelError } from '../../../shared/errors.js';
import { loraOptions } from '../adapter.js';
import { loadWeights } from '../load_weights.js';

export interface ScorerOptions {
  /** PEFT adapter folder; it is computed next to the weights, never merged into them. Null for none. */
  adapter: string | null;
  /** Precision of matrix products and activations; reductions are float32 in both. */
  precision: 'fp32' | 'bf16';
  /** Device that computes, e.g. `cpu:0`; this process's where it is left out. */
  device?: string;
}

/** Tokens that one buffer holds unless a document is longer: enough to keep all cores busy. */
export const standardBuffer = 2048;

/** Returns the smallest of the sizes 64, 80, 96, 112, 128, 160 … that holds `tokens`: few plans, and little padding. */
export function bufferSize(tokens: number): number {
  if (tokens <= 64) return 64;
  const step = 2 ** Math.floor(Math.log2(tokens - 1)) / 4;
  return Math.ceil(tokens / step) * step;
}

/**
 * A model that scores. Weights are mapped from their files where the plan reads them in the files' dtype.
 *
 * @example
 * const scorer = await Scorer.open(folder, { adapter: null, precision: 'fp32' });
 * const [logprobs] = await scorer.score([[1, 5, 9]]); // two numbers
 * await scorer.close();
 */
export class Scorer {
  readonly #plans = new Map<number, EnginePlan>();
  readonly #constants = new Set<string>();
  /** Rows of the RoPE table in the context. */
  #positions = standardBuffer;
  /** Calls take turns: a plan may only be replaced when nothing runs. */
  #turn: Promise<unknown> = Promise.resolve();

  readonly #weights: Weights;
  readonly #adapter: Adapter | null;
  readonly #precision: 'fp32' | 'bf16';
  readonly #context: EngineContext;

  private constructor(
    readonly model: Model,
    weights: Weights,
    adapter: Adapter | null,
    precision: 'fp32' | 'bf16',
    context: EngineContext,
  ) {
    this.#weights = weights;
    this.#adapter = adapter;
    this.#precision = precision;
    this.#context = context;
  }

  /**
   * Opens a model folder.
   * @throws ModelError where model or adapter do not fit
   */
  static async open(folder: string, options: ScorerOptions): Promise<Scorer> {
    const model = await openModel(folder);
    const weights = await locateWeights(folder, model);
    const adapter = options.adapter === null ? null : await readAdapter(options.adapter, model.linearModules);
    const context = createContext({ device: options.device ?? defaultDevice() });
    return new Scorer(model, weights, adapter, options.precision, context);
  }

  /**
   * Returns log p(token i+1 | ≤ i) of each document, n − 1 numbers for n tokens, all documents in one buffer.
   * @throws ModelError for ids that are not in the vocabulary
   */
  score(documents: readonly (readonly number[])[]): Promise<Float32Array[]> {
    const scored = this.#turn.then(() => this.#score(documents));
    this.#turn = scored.catch(() => undefined);
    return scored;
  }

  async close(): Promise<void> {
    await this.#turn;
    this.#context.close();
  }

  async #score(documents: readonly (readonly number[])[]): Promise<Float32Array[]> {
    requireVocabulary(documents, this.model.vocabSize);
    const tokens = documents.reduce((sum, ids) => sum + packedLength(ids), 0);
    if (tokens === 0) return documents.map(() => new Float32Array(0));
    const plan = await this.#plan(bufferSize(tokens), Math.max(...documents.map((ids) => ids.length)));
    const { logprobs } = await plan.run('score', packDocuments(documents, bufferSize(tokens)));
    return splitLogprobs(logprobs as Float32Array, documents);
  }

  async #plan(size: number, longest: number): Promise<EnginePlan> {
    if (longest > this.#positions) this.#growPositions(bufferSize(longest));
    const cachedPlan = this.#plans.get(size);
    if (cachedPlan !== undefined) return cachedPlan;
    const graph = this.model.forward({
      tokens: size,
      positions: this.#positions,
      dtypes: weightDTypes(this.#weights),
    });
    const { plan, tensors } = compileScoring({
      graph,
      precision: this.#precision === 'bf16' ? 'bf16' : 'f32',
      lora: this.#adapter && loraOptions(this.#adapter, this.#adapter.modules),
      ...this.#context.target,
    });
    await this.#load(tensors.filter(({ name }) => !this.#context.tensors.has(name)));
    const loaded = this.#context.load(plan);
    this.#plans.set(size, loaded);
    return loaded;
  }

  /** Forgets every plan and the table that they share; both are made again when they are next needed. */
  #growPositions(positions: number): void {
    for (const plan of this.#plans.values()) plan.unload();
    this.#plans.clear();
    for (const name of this.#constants) this.#context.free(name);
    this.#constants.clear();
    this.#positions = positions;
  }

  async #load(specs: readonly TensorSpec[]): Promise<void> {
    const fromFiles = specs.filter(({ name }) => this.#weights.has(name));
    await loadWeights(this.#context, fromFiles, this.#weights);
    const constants = new Map(
      [...this.model.constants(this.#positions)].map(([key, { data }]) => [constantTensor(key), data]),
    );
    for (const { name, role, dtype, shape } of specs) {
      if (this.#weights.has(name)) continue;
      const data = role === 'constant' ? constants.get(name)! : await readAdapterTensor(this.#adapter!, name);
      this.#context.allocate(name, dtype, shape);
      this.#context.write(name, data);
      if (role === 'constant') this.#constants.add(name);
    }
  }
}

function requireVocabulary(documents: readonly (readonly number[])[], size: number): void {
  for (const ids of documents) {
    const foreign = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= size);
    if (foreign !== undefined)
      throw new ModelError(`token id ${foreign} is not in the model's vocabulary of ${size} entries`);
  }
}

/** Returns the number of scored tokens of a document: a single token predicts nothing. */
const packedLength = (ids: readonly number[]) => (ids.length < 2 ? 0 : ids.length);

/**
 * Returns the plan's inputs: documents one after the other, then padding, which is a document of its own and has no
 * targets.
 */
function packDocuments(documents: readonly (readonly number[])[], size: number) {
  const inputs = {
    ids: new Int32Array(size),
    positions: new Int32Array(size),
    targets: new Int32Array(size).fill(-1),
    spans: new Int32Array(2 * size),
  };
  let offset = 0;
  for (const document of documents) {
    const length = packedLength(document);
    if (length === 0) continue;
    fillCausalSpans(inputs.spans, offset, offset + length);
    for (let i = 0; i < length; i++) {
      inputs.ids[offset + i] = document[i]!;
      inputs.positions[offset + i] = i;
      if (i + 1 < length) inputs.targets[offset + i] = document[i + 1]!;
    }
    offset += length;
  }
  fillCausalSpans(inputs.spans, offset, size);
  return inputs;
}

function splitLogprobs(logprobs: Float32Array, documents: readonly (readonly number[])[]): Float32Array[] {
  let offset = 0;
  return documents.map((document) => {
    const length = packedLength(document);
    const documentLogprobs = logprobs.slice(offset, offset + Math.max(0, length - 1));
    offset += length;
    return documentLogprobs;
  });
}
