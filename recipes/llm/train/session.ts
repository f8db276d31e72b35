/**
 * The engine's side of a run: one context that holds the model's weights, the trained tensors and their moments, and
 * the loaded plans of training and validation.
 */
import type { MicroBatch } from '../../../components/datasets/llm/index.js';
import type { Weights } from '../../../components/models/index.js';
import type { CommittedTensor } from '../../../contracts/index.js';
import {
  createContext,
  type EngineContext,
  type EnginePlan,
  type Snapshot,
  type TensorData,
} from '../../../engine/index.js';
import { compileInit, constantTensor, type Init } from '../../../graph/index.js';
import { loadWeights } from '../load_weights.js';
import type { CompiledRun } from './compile.js';

export interface StepResult {
  loss: number;
  /** Global gradient norm before clipping. */
  norm: number;
  /** Norm of each gradient, in the order of the plan's `trained`. */
  norms: Float32Array;
}

export interface SessionOptions {
  /** E.g. `cpu:0`. */
  device: string;
  weights: Weights;
  constants: ReadonlyMap<string, { data: Float32Array }>;
  /** Initial values of trained parameters that are not weights. */
  inits: readonly Init[];
  /** Values that replace those, such as an adapter to start from. */
  initial: ReadonlyMap<string, Float32Array>;
  seed: number;
}

export class Session {
  /** The tensors of a checkpoint by name, with their roles: trained parameters and their moments. */
  readonly stateTensors: ReadonlyMap<string, CommittedTensor['role']>;
  readonly #training: EnginePlan;
  readonly #validation: EnginePlan | null;
  readonly #dropoutKey: Int32Array;

  private constructor(
    readonly context: EngineContext,
    readonly compiled: CompiledRun,
    seed: number,
  ) {
    this.stateTensors = new Map(
      compiled.training.tensors.flatMap(({ name, role }) =>
        role === 'trained' || role === 'optimizer' ? [[name, role] as const] : [],
      ),
    );
    this.#training = context.load(compiled.training.plan);
    this.#validation = compiled.validation === null ? null : context.load(compiled.validation.plan);
    this.#dropoutKey = Int32Array.of(seed % 2 ** 32, Math.floor(seed / 2 ** 32), 0, 0);
  }

  static async open(compiled: CompiledRun, options: SessionOptions): Promise<Session> {
    const context = createContext({ device: options.device });
    try {
      const specs = compiled.training.tensors;
      const fromWeights = specs.filter(
        ({ name, role }) => role === 'frozen' || (role === 'trained' && options.weights.has(name)),
      );
      await loadWeights(context, fromWeights, options.weights);
      for (const { name, dtype, shape } of specs) {
        if (!context.tensors.has(name)) context.allocate(name, dtype, shape);
      }
      for (const [key, { data }] of options.constants) {
        const name = constantTensor(key);
        if (context.tensors.has(name)) context.write(name, data);
      }
      await initialize(context, options);
      const session = new Session(context, compiled, options.seed);
      // Meanwhile the run's checkpoint is looked for; a failure comes back with the first step.
      context.prepare().catch(() => undefined);
      return session;
    } catch (error) {
      context.close();
      throw error;
    }
  }

  /**
   * Runs forward and backward of a whole step; nothing is changed yet. `weight` is 1 ÷ supervised tokens of the step.
   */
  async gradients(batches: readonly MicroBatch[], weight: number, step: number): Promise<StepResult> {
    const runs = batches.map((batch, index) =>
      this.#training.run('micro', this.#inputs(this.#training, batch, weight, step), {
        first: index === 0,
        last: index === batches.length - 1,
      }),
    );
    const norm = this.#training.run('norm');
    await Promise.all([...runs, norm]);
    const { loss, norm: total, norms } = await norm;
    return { loss: loss![0]!, norm: total![0]!, norms: norms as Float32Array };
  }

  /** Applies the gradients. `inputs` are what `optimizerInputs` gives for the step. */
  async update(inputs: Readonly<Record<string, Float32Array>>): Promise<void> {
    await this.#training.run('update', inputs);
  }

  /** Returns Σ −log p over the batch's supervised tokens. */
  validationLoss(batch: MicroBatch): Promise<number> {
    return this.#lossBy(this.#validation!, batch);
  }

  /** Gives `use` the validation loss of the model without its adapter, whatever that has learned by now. */
  async withBaseModel<T>(use: (validationLoss: (batch: MicroBatch) => Promise<number>) => Promise<T>) {
    const plan = this.context.load(this.compiled.compileBaseValidation!().plan);
    try {
      return await use((batch) => this.#lossBy(plan, batch));
    } finally {
      plan.unload();
    }
  }

  async #lossBy(plan: EnginePlan, batch: MicroBatch): Promise<number> {
    const { loss } = await plan.run('micro', this.#inputs(plan, batch, 1, 0));
    return loss![0]!;
  }

  /** Copies of `stateTensors` after what is queued so far; the next step's gradients need not wait for them. */
  snapshot(): Promise<Snapshot> {
    return this.#training.snapshot();
  }

  close(): void {
    this.context.close();
  }

  #inputs(plan: EnginePlan, batch: MicroBatch, weight: number, step: number): Record<string, TensorData> {
    this.#dropoutKey[2] = step;
    const all: Record<string, TensorData> = {
      ids: batch.ids,
      labels: batch.labels,
      positions: batch.positions,
      spans: batch.spans,
      packs: batch.packs,
      offsets: batch.offsets,
      weight: Float32Array.of(weight),
      dropout_key: this.#dropoutKey,
    };
    return Object.fromEntries(
      plan.inputNames.filter((name) => name in all).map((name) => [name, all[name]!]),
    );
  }
}

async function initialize(context: EngineContext, { inits, initial, seed }: SessionOptions): Promise<void> {
  const initializers = inits.filter(({ name }) => !initial.has(name));
  if (initializers.length > 0) {
    const plan = context.load(compileInit(initializers, seed, context.target.alignment));
    await plan.run('init');
    plan.unload();
  }
  for (const [name, data] of initial) context.write(name, data);
}
