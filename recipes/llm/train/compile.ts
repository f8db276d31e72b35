/** Compiles a recipe and a model to the plans of its run, before anything is allocated. */
import { lossRule } from '../../../components/loss/index.js';
import { type Model, type Weights, weightDTypes } from '../../../components/models/index.js';
import { optimizerSpec } from '../../../components/optim/index.js';
import { type PlanTarget, planTarget } from '../../../engine/index.js';
import {
  ArenaTooLarge,
  type Compiled,
  type CompiledTraining,
  compileTraining,
  compileValidation,
  type Graph,
  type LinearModule,
} from '../../../graph/index.js';
import { OutOfMemoryError } from '../../../shared/errors.js';
import { adaptedModules, loraOptions } from '../adapter.js';
import type { Recipe } from '../recipe.js';
import { arenaBudget, arenaDoesNotFit } from './memory.js';

/** The compiled plans of a run, as far as they can be kept in a file. */
export interface CompiledPlans {
  training: Omit<CompiledTraining, 'graph'>;
  /** The validation plan; null when the recipe has no validation data. */
  validation: Omit<Compiled, 'graph'> | null;
}

export interface CompiledRun extends CompiledPlans {
  /**
   * Validates the model without its adapter. Null when that is not what training begins with: in full fine-tuning, and
   * from an adapter that was trained before.
   */
  compileBaseValidation: (() => Compiled) | null;
  /** Rows of the RoPE table: the longest document there can be. */
  positions: number;
  /** Modules that an adapter is trained for; null in full fine-tuning. */
  adapted: LinearModule[] | null;
}

/** The compiler options of a recipe with this model. */
export interface CompileRequest extends Pick<CompiledRun, 'positions' | 'adapted' | 'compileBaseValidation'> {
  /** The model's forward pass for one micro-batch. */
  graph: Graph;
  recipe: Recipe;
  /** What the device that it is compiled for can do. */
  target: PlanTarget;
  /** Bytes that the rank may use, which `activation_checkpointing: auto` keeps within. */
  memoryLimit: number;
}

/** @param device that the plans are for, e.g. `cpu:0`; it need not be there */
export function compileRequest(
  recipe: Recipe,
  model: Model,
  weights: Weights,
  device: string,
  memoryLimit: number,
): CompileRequest {
  const { data, peft } = recipe;
  const target = planTarget({ device });
  const positions = data.packed_sequence_size;
  const graph = model.forward({
    tokens: data.batch_size.micro * data.packed_sequence_size,
    positions,
    dtypes: weightDTypes(weights),
  });
  return {
    graph,
    recipe,
    target,
    memoryLimit,
    positions,
    adapted: peft === null ? null : adaptedModules(peft, model),
    compileBaseValidation:
      data.validation === null || peft === null || peft.init_from !== null
        ? null
        : () => compileValidation({ graph, ...numerics(recipe), ...target }),
  };
}

/**
 * Runs the compiler.
 * @throws OutOfMemoryError where no arena fits the budget
 */
export function compilePlans({ graph, recipe, target, adapted, memoryLimit }: CompileRequest): CompiledPlans {
  const { training, data, peft } = recipe;
  const lora = peft === null || adapted === null ? null : loraOptions(peft, adapted, peft.dropout);
  const options = { graph, ...numerics(recipe), ...target, lora };
  const mode = training.activation_checkpointing;
  try {
    const { graph: _, ...compiled } = compileTraining({
      ...options,
      optimizer: optimizerSpec(training.optimizer),
      recompute:
        mode === 'auto'
          ? { mode, arenaBudget: (heldBytes) => arenaBudget(heldBytes, memoryLimit) }
          : { mode },
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
  loss: lossRule(training.loss),
});
