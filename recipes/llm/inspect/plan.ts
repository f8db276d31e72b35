/** Forecasts the cost of a recipe, before anything is allocated: memory per rank, work per step, and steps. */
import { stepsPerEpoch, totalSteps } from '../../../components/training/index.js';
import type { DataReport, MemoryForecast } from '../../../contracts/index.js';
import { memoryLimit } from '../../../engine/index.js';
import { type LoweredOp, type Plan, printPlan, type WorkReport } from '../../../graph/index.js';
import { DataError } from '../../../shared/errors.js';
import { resolveRoots } from '../../../shared/storage/index.js';
import type { StepHooks } from '../../run/progress.js';
import { modelNotices, resolveRunModel } from '../model.js';
import { preparedPacks } from '../prepare/packs.js';
import type { Recipe } from '../recipe.js';
import { forecastMemory, usableShare } from '../train/memory.js';
import { compileRun } from '../train/plan_cache.js';
import { buildSchedule } from '../train/trainer.js';

export interface RunForecast {
  model: { name: string; parameters: number; trained: number };
  /** Packs of a micro-batch, tokens of a pack, and micro-batches of a full step on one rank. */
  batch: { micro: number; packedSequenceSize: number; microBatchesPerStep: number };
  /** Bytes per rank. */
  memory: MemoryForecast & { perLayer: number };
  /** Bytes that a rank may use on this host. */
  available: number;
  /** Decoder layers recomputed in full, and those of which only the cheap ops are. */
  recomputed: { full: number; cheap: number; of: number };
  /** Floating-point operations and bytes of a micro-batch, and of a step's norm and update (`optimizer`). */
  work: WorkReport;
  /** `programs` has the number of records of each. */
  plan: { name: string; digest: string; records: number; programs: Record<string, number> };
  /** Ops that the device has no kernel for, which run by their fallback: more slowly, and in more memory. */
  lowered: readonly LoweredOp[];
  /** Steps, and what the data are; null when they have yet to be prepared, or cannot be (`dataProblem` says why). */
  steps: { perEpoch: number; total: number } | null;
  data: Record<string, DataReport> | null;
  dataProblem: string | null;
  /** Warnings: unusual, but not mistakes. */
  notices: string[];
}

/**
 * Plans a recipe for one rank of this host, and finds prepared data.
 * @param device that it is planned for, e.g. `cpu:0`; it need not be there
 * @throws OutOfMemoryError where no arena fits, EngineError where the device has no kernel for a record
 */
export async function planRun(
  recipe: Recipe,
  hooks: StepHooks,
  device: string,
): Promise<{ summary: RunForecast; text: () => string }> {
  const resolved = await resolveRunModel(recipe, hooks);
  const weights = [...resolved.weights.values()];
  const available = memoryLimit() * usableShare;
  const compiled = await compileRun(recipe, resolved.model, resolved.weights, device, available);
  const { training } = compiled;
  const trained = training.tensors.filter(({ role }) => role === 'trained');
  const { batch_size: batch, packed_sequence_size: packedSequenceSize } = recipe.data;
  const summary: RunForecast = {
    model: { name: recipe.model.name, parameters: elements(weights), trained: elements(trained) },
    batch: {
      micro: batch.micro,
      packedSequenceSize,
      microBatchesPerStep: Math.ceil(batch.global / batch.micro),
    },
    memory: { ...forecastMemory(compiled, device), perLayer: training.memory.activationsPerLayer },
    available: Math.floor(available),
    recomputed: training.recomputed,
    work: training.work,
    plan: describePlan(training.plan),
    lowered: training.lowered,
    notices: modelNotices(recipe, resolved.model),
    ...(await forecastData(recipe, () => preparedPacks(recipe, resolved, resolveRoots(null).cache))),
  };
  const plans = [training.plan, ...(compiled.validation === null ? [] : [compiled.validation.plan])];
  return { summary, text: () => plans.map(printPlan).join('\n') };
}

function describePlan({ name, digest, records, segments, programs }: Plan): RunForecast['plan'] {
  const counts = Object.entries(programs).map(([program, range]) => {
    const parts = segments.slice(...range).map(({ from, to }) => to - from);
    return [program, parts.reduce((sum, length) => sum + length, 0)] as const;
  });
  return { name, digest, records: records.length, programs: Object.fromEntries(counts) };
}

async function forecastData(
  recipe: Recipe,
  find: () => ReturnType<typeof preparedPacks>,
): Promise<Pick<RunForecast, 'steps' | 'data' | 'dataProblem'>> {
  let packs: Awaited<ReturnType<typeof preparedPacks>>;
  try {
    packs = await find();
  } catch (error) {
    // A plan is also asked for on a machine that has none of the data.
    if (!(error instanceof DataError)) throw error;
    return { steps: null, data: null, dataProblem: error.message };
  }
  const { train } = packs;
  if (train == null) return { steps: null, data: null, dataProblem: null };
  const schedule = buildSchedule(recipe, train.index.packs);
  const reports = Object.entries(packs).flatMap(([name, found]) =>
    found === null ? [] : [[name, found.index.report] as const],
  );
  return {
    steps: { perEpoch: stepsPerEpoch(schedule), total: totalSteps(schedule) },
    data: Object.fromEntries(reports),
    dataProblem: null,
  };
}

const elements = (tensors: readonly { shape: readonly number[] }[]) =>
  tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
