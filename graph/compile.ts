/**
 * The one way from a model's graph to plans. A model declares `hidden` [T, D] and `head` [V, D]; what it is compiled
 * for decides the rest:
 *
 *     const optimizer = { op: 'adamw', attrs: {}, weightDecay: () => 0 };
 *     const { plan, tensors, memory } = compileTraining({ graph, loss, optimizer });
 */

import { GraphBuilder } from './builder/builder.js';
import { GraphError } from './ir/error.js';
import type { Graph, TensorRole } from './ir/graph.js';
import type { Plan } from './ir/plan.js';
import { checkGraph } from './ops/types.js';
import { accumulateGradients } from './passes/accumulate.js';
import { autodiff } from './passes/autodiff.js';
import { removeDeadCode } from './passes/dead_code.js';
import { fuse } from './passes/fusion.js';
import { defaultAlignment } from './passes/liveness.js';
import type { LoraOptions } from './passes/lora.js';
import { insertLora } from './passes/lora.js';
import type { LossRule } from './passes/loss.js';
import { attachLogprobs, attachLoss } from './passes/loss.js';
import { type LoweredOp, Lowering } from './passes/lower.js';
import type { OptimizerSpec } from './passes/optimizer.js';
import { appendOptimizer, trainedParameters } from './passes/optimizer.js';
import type { AssembledPlan } from './passes/plan.js';
import { assemblePlan } from './passes/plan.js';
import type { Precision } from './passes/precision.js';
import { setPrecision } from './passes/precision.js';
import type { RecomputeChoice } from './passes/recompute.js';
import { layerScopes, recompute } from './passes/recompute.js';
import { peakOfMicro, schedule } from './passes/schedule.js';
import { setTrainable } from './passes/trainable.js';
import type { MemoryReport, TensorSpec, WorkReport } from './report.js';
import { bytesByRole, memoryReport, tensorsOf, workReport } from './report.js';

export interface Compiled {
  readonly plan: Plan;
  /** Every tensor the context must have, in the order of the model. */
  readonly tensors: readonly TensorSpec[];
  readonly memory: MemoryReport;
  readonly work: WorkReport;
  /** Ops that the target has no kernel for, which run by their fallback. */
  readonly lowered: readonly LoweredOp[];
  /** The graph the plan was made from, scheduled: for the interpreter and for prints. */
  readonly graph: Graph;
}

export interface CompiledTraining extends Compiled {
  /** Trained parameters, in the order of the `norms` output. */
  readonly trained: readonly string[];
  /** Result of activation checkpointing: layers recomputed in full, and layers whose cheap ops are. */
  readonly recomputed: { readonly full: number; readonly cheap: number; readonly of: number };
}

export interface ModelOptions {
  /** A forward graph with the outputs `hidden` and `head`. */
  readonly graph: Graph;
  readonly precision?: Precision;
  /** Adapters to insert; null (as when left out) leaves the model as it is. */
  readonly lora?: LoraOptions | null;
  /**
   * Without LoRA, which parameters are trained and therefore float32 masters in the context: in training all of them
   * where this is left out, elsewhere none. A validation plan that shares a context with training is given the same.
   */
  readonly trainable?: (parameter: string) => boolean;
  /** Names of the ops that the target has kernels for; all that a plan may hold where it is left out. */
  readonly kernels?: ReadonlySet<string>;
  /** Alignment that the target needs of buffers in the arena, bytes; 64 where it is left out. */
  readonly alignment?: number;
}

export interface TrainingOptions extends ModelOptions {
  readonly loss: LossRule;
  readonly optimizer: OptimizerSpec;
  /**
   * `auto` takes the least recompute whose arena fits the bytes of `arenaBudget`, which is given what the context's tensors
   * take by role.
   */
  readonly recompute?:
    | { readonly mode: 'none' }
    | { readonly mode: 'full' }
    | {
        readonly mode: 'auto';
        readonly arenaBudget: (held: Readonly<Record<TensorRole, number>>) => number;
      };
}

/** No choice of what to recompute makes the arena fit its budget. */
export class ArenaTooLarge extends GraphError {
  constructor(
    graph: string,
    /** With every layer recomputed. */
    readonly memory: MemoryReport,
    /** Bytes. */
    readonly arenaBudget: number,
  ) {
    super(
      `graph ${graph}: with every layer recomputed the arena takes ${memory.arena} bytes, and may take ` +
        `${Math.floor(arenaBudget)}; use a smaller micro-batch or packed sequence`,
    );
  }
}

/** A plan with the programs `micro`, `norm`, `update` and `snapshot`. */
export function compileTraining(options: TrainingOptions): CompiledTraining {
  const model = options.lora
    ? insertLora(options.graph, options.lora)
    : setTrainable(options.graph, options.trainable ?? (() => true));
  const lowering = new Lowering(options.kernels ?? null);
  const differentiated = autodiff(lowering.forward(withLoss(model, options)));
  const gradients = accumulateGradients(fuse(lowering.all(differentiated)));
  const step = lowering.all(appendOptimizer(gradients, options.optimizer));
  checkGraph(step);
  const { graph, assembled, choice } = chooseRecompute(step, options);
  return {
    ...reports(graph, assembled, lowering.lowered),
    trained: trainedParameters(graph).map(({ parameter }) => parameter.name),
    recomputed: { full: choice.full.size, cheap: choice.cheap.size, of: layerScopes(graph).length },
  };
}

/** A plan with the program `micro`: the loss of one micro-batch in the output slot `loss`, nothing kept. */
export function compileValidation(options: ModelOptions & { readonly loss: LossRule }): Compiled {
  const graph = withLoss(withoutDropout(options), options);
  return forwardOnly(graph, 'micro', options);
}

/** A plan with the program `score`: log p of `targets` (0 where negative) in the output slot `logprobs` f32 [T]. */
export function compileScoring(options: ModelOptions): Compiled {
  const graph = setPrecision(attachLogprobs(withoutDropout(options)), options.precision ?? 'f32');
  return forwardOnly(graph, 'score', options);
}

/** The distribution that `compileInit` fills a tensor with. `site` sets the random streams of tensors apart. */
export type Init =
  | {
      readonly name: string;
      readonly shape: readonly number[];
      readonly kind: 'value';
      readonly value: number;
    }
  | {
      readonly name: string;
      readonly shape: readonly number[];
      readonly kind: 'uniform';
      readonly bound: number;
      readonly site: number;
    }
  | {
      readonly name: string;
      readonly shape: readonly number[];
      readonly kind: 'normal';
      readonly std: number;
      readonly site: number;
    };

/**
 * A plan with the program `init`, which fills f32 tensors of the context.
 * @param seed a whole number below 2⁵³
 * @param alignment that the target needs, bytes
 */
export function compileInit(inits: readonly Init[], seed: number, alignment = defaultAlignment): Plan {
  if (inits.length === 0) throw new GraphError('nothing to initialize');
  const builder = new GraphBuilder('init', {});
  for (const init of inits) {
    const tensor = builder.state(init.name, 'trained', 'f32', init.shape.join(' '));
    const axes = init.shape.join(' ');
    const append = (op: string, attrs: Record<string, number | string>) =>
      builder.append({ op, inputs: [], outputs: [tensor], attrs });
    if (init.kind === 'value') append('fill', { value: init.value, axes });
    else if (init.kind === 'uniform')
      append('random_uniform', { seed, site: init.site, bound: init.bound, axes });
    else append('random_normal', { seed, site: init.site, std: init.std, axes });
  }
  return assemblePlan(builder.build(), { program: 'init', alignment }).plan;
}

function withLoss(graph: Graph, options: { readonly loss: LossRule; readonly precision?: Precision }): Graph {
  const float32 = new Set(options.loss.float32);
  return setPrecision(attachLoss(graph, options.loss), options.precision ?? 'f32', {
    stored: float32,
    computed: new Set(),
  });
}

/** The model as it is evaluated: adapters without their dropout. */
const withoutDropout = ({ graph, lora, trainable }: ModelOptions): Graph =>
  lora ? insertLora(graph, { ...lora, dropout: 0 }) : setTrainable(graph, trainable ?? (() => false));

/** Turns the graph's outputs into output slots and assembles the plan. */
function forwardOnly(graph: Graph, program: string, options: ModelOptions): Compiled {
  const { kernels = null, alignment = defaultAlignment } = options;
  const lowering = new Lowering(kernels);
  const forward = fuse(lowering.all(removeDeadCode(graph)));
  const builder = GraphBuilder.withValuesOf({ ...forward, outputs: {} });
  const slots = new Map<number, number>();
  for (const [name, id] of Object.entries(forward.outputs)) {
    const value = builder.value(id)!;
    slots.set(id, builder.outputSlot(name, 'f32', value.axes.join(' ')).id);
  }
  const nodes = forward.nodes.map((node) => ({
    ...node,
    outputs: node.outputs.map((id) => slots.get(id) ?? id),
  }));
  const whole = { ...builder.build(), nodes };
  checkGraph(whole);
  const scheduled = schedule(whole, alignment);
  return reports(scheduled, assemblePlan(scheduled, { program, alignment }), lowering.lowered);
}

const reports = (graph: Graph, assembled: AssembledPlan, lowered: readonly LoweredOp[]): Compiled => ({
  plan: assembled.plan,
  tensors: tensorsOf(graph),
  memory: memoryReport(graph, assembled),
  work: workReport(graph),
  lowered,
  graph,
});

interface Recomputed {
  readonly graph: Graph;
  readonly assembled: AssembledPlan;
  readonly choice: RecomputeChoice;
}

/**
 * Least recompute first: nothing; then the cheap ops of ever more layers; then ever more layers in full. The layers
 * are taken from the first on, since the first layers' activations live longest.
 */
function chooseRecompute(graph: Graph, options: TrainingOptions): Recomputed {
  const { recompute: mode = { mode: 'none' }, alignment = defaultAlignment } = options;
  const layers = layerScopes(graph);
  const most = 2 * layers.length;
  const choiceAt = (level: number): RecomputeChoice => ({
    cheap: new Set(layers.slice(Math.max(0, level - layers.length), level)),
    full: new Set(layers.slice(0, Math.max(0, level - layers.length))),
  });
  const attempt = (level: number): Recomputed => {
    const choice = choiceAt(level);
    const scheduled = schedule(recompute(graph, choice), alignment);
    return { graph: scheduled, assembled: assemblePlan(scheduled, { alignment }), choice };
  };
  if (mode.mode === 'none') return attempt(0);
  if (mode.mode === 'full') return attempt(most);

  const budget = mode.arenaBudget(bytesByRole(graph));
  // The search goes by what is alive at the fullest node, which is quick to know; the arena itself, a little larger,
  // then decides.
  let [low, high] = [-1, most];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const scheduled = schedule(recompute(graph, choiceAt(middle)), alignment);
    if (peakOfMicro(scheduled, alignment) <= budget) high = middle;
    else low = middle;
  }
  for (let level = high; ; level++) {
    const candidate = attempt(level);
    if (candidate.assembled.plan.arenaBytes <= budget) return candidate;
    if (level >= most) {
      throw new ArenaTooLarge(graph.name, memoryReport(candidate.graph, candidate.assembled), budget);
    }
  }
}
