/** From a recipe and a model to the plans of its run, before anything is allocated. */
import { type Model, type Weights, weightDTypes } from '../../../components/models/index.js';
import type { Optimizer } from '../../../components/optim/index.js';
import { type LinearModule, matchTargetModules, type PeftOptions } from '../../../components/peft/index.js';
import {
  ArenaTooLarge,
  type Compiled,
  type CompiledTraining,
  compileTraining,
  compileValidation,
  type Graph,
  type LoraOptions,
  type OptimizerSpec,
} from '../../../graph/index.js';
import { OutOfMemoryError } from '../../../shared/errors.js';
import { compileGlob } from '../../../shared/patterns/glob.js';
import type { Recipe } from '../recipe.js';
import { arenaDoesNotFit } from './memory.js';

/** What a run compiles to, as far as it can be kept in a file. */
export interface CompiledPlans {
  training: Omit<CompiledTraining, 'graph'>;
  /** Null when the recipe has no validation data. */
  validation: Omit<Compiled, 'graph'> | null;
}

export interface CompiledRun extends CompiledPlans {
  /**
   * Validates the model without its adapter. Null where that is not what training begins with: in full fine-tuning, and
   * from an adapter that was trained before.
   */
  compileBaseValidation: (() => Compiled) | null;
  /** Rows of the RoPE table: the longest document there can be. */
  positions: number;
  /** Modules that an adapter is trained for; null in full fine-tuning. */
  adapted: LinearModule[] | null;
}

/** What a recipe asks the compiler for, with this model. */
export interface CompileRequest extends Pick<CompiledRun, 'positions' | 'adapted' | 'compileBaseValidation'> {
  /** The model's forward pass for one micro-batch. */
  graph: Graph;
  recipe: Recipe;
  /** Bytes that `activation_checkpointing: auto` may use for the arena. */
  arenaBudget: number;
}

export function compileRequest(
  recipe: Recipe,
  model: Model,
  weights: Weights,
  arenaBudget: number,
): CompileRequest {
  const { data, peft } = recipe;
  const positions = data.packed_sequence_size;
  const graph = model.forward({
    tokens: data.batch_size.micro * data.packed_sequence_size,
    positions,
    dtypes: weightDTypes(weights),
  });
  return {
    graph,
    recipe,
    arenaBudget,
    positions,
    adapted: peft === null ? null : adaptedModules(peft, model),
    compileBaseValidation:
      data.validation === null || peft === null || peft.init_from !== null
        ? null
        : () => compileValidation({ graph, ...numerics(recipe) }),
  };
}

/** Runs the compiler. Throws OutOfMemoryError where no arena fits the budget. */
export function compilePlans({ graph, recipe, adapted, arenaBudget }: CompileRequest): CompiledPlans {
  const { training, data, peft } = recipe;
  const lora = peft === null || adapted === null ? null : loraOptions(peft, adapted);
  const options = { graph, ...numerics(recipe), lora };
  const mode = training.activation_checkpointing;
  try {
    const { graph: _, ...compiled } = compileTraining({
      ...options,
      optimizer: optimizerSpec(training.optimizer),
      recompute: mode === 'auto' ? { mode, arenaBudget } : { mode },
    });
    if (data.validation === null) return { training: compiled, validation: null };
    const { graph: __, ...validation } = compileValidation({ ...options, trainable: () => peft === null });
    return { training: compiled, validation };
  } catch (error) {
    if (error instanceof ArenaTooLarge)
      throw new OutOfMemoryError(arenaDoesNotFit(error.memory, error.arenaBudget), { cause: error });
    throw error;
  }
}

const numerics = ({ training }: Recipe) => ({
  precision: training.precision === 'bf16' ? ('bf16' as const) : ('f32' as const),
  loss: training.loss,
});

/** The linear modules that the recipe's `peft.target_modules` name. Throws ModelError when one names none. */
export function adaptedModules(peft: PeftOptions, model: Model): LinearModule[] {
  // As in peft, `all-linear` and globs mean the decoder's own linears, never the head.
  const linears = model.linearModules.filter(({ module }) => module !== 'lm_head');
  const matched = new Set(
    matchTargetModules(
      peft.target_modules,
      linears.map(({ module }) => module),
    ),
  );
  return linears.filter(({ module }) => matched.has(module));
}

export function loraOptions(peft: PeftOptions, adapted: readonly LinearModule[]): LoraOptions {
  const modules = new Set(adapted.map(({ module }) => module));
  return {
    rank: peft.rank,
    alpha: peft.alpha,
    rsLora: peft.rslora,
    dropout: peft.dropout,
    matches: (module) => modules.has(module),
  };
}

function optimizerSpec(optimizer: Optimizer): OptimizerSpec {
  const globs = optimizer.no_decay.map((glob) =>
    compileGlob(glob, 'training.optimizer.no_decay', { dot: true }),
  );
  const excluded = (parameter: string) => globs.some((matches) => matches(parameter));
  const weightDecay = (parameter: string) => (excluded(parameter) ? 0 : optimizer.weight_decay);
  if (optimizer.name === 'sgd') return { name: 'sgd', momentum: optimizer.momentum > 0, weightDecay };
  return { name: 'adamw', weightDecay };
}
