/** Memory that a run's plans need on a host, and that the host has. */
import type { MemoryForecast } from '../../../contracts/index.js';
import { planNeeds } from '../../../engine/index.js';
import type { Compiled, MemoryReport, TensorRole } from '../../../graph/index.js';
import { formatGigabytes } from '../../../shared/format.js';

/** Share of the machine that a rank may fill; the rest is the system's, Node's and the page cache's. */
export const usableShare = 0.9;

type Planned = Pick<Compiled, 'plan' | 'tensors' | 'memory'>;
/** The plans of a run. */
interface PlannedRun {
  training: Planned;
  validation: Planned | null;
}

/** Returns the bytes that the engine's scratch will take; nothing is allocated for the answer. */
function workspaceBytes({ training, validation }: PlannedRun, device: string): number {
  const plans = validation === null ? [training] : [training, validation];
  return Math.max(...plans.map(({ plan }) => planNeeds(plan, { device }).workspaceBytes));
}

/**
 * Returns the bytes per rank, exact but for the snapshot, which exists only while a checkpoint is written.
 * @param device that the plans are for, e.g. `cpu:0`; it need not be there
 * @throws EngineError that names the record for which the device has no kernel
 */
export function forecastMemory(compiled: PlannedRun, device: string): MemoryForecast {
  const { memory } = compiled.training;
  const arena = Math.max(memory.arena, compiled.validation?.memory.arena ?? 0);
  const parts = { ...forecastParts({ ...memory, arena }), workspace: workspaceBytes(compiled, device) };
  return { ...parts, total: sum(parts) };
}

/** Returns the bytes per rank of what the plan states; the engine's scratch is added to it. */
function forecastParts(memory: MemoryReport): Omit<MemoryForecast, 'workspace' | 'total'> {
  return {
    weights: memory.frozen + memory.constants,
    trained: memory.trained,
    gradients: memory.gradients,
    optimizer: memory.optimizer,
    arena: memory.arena,
    snapshot: memory.trained + memory.optimizer,
  };
}

/** Returns why a run is refused: the memory it needs, the memory available, and the largest parts. */
export function doesNotFit({ total, ...parts }: MemoryForecast, limit: number): string {
  return `the run needs ${formatGigabytes(total)} of memory, and ${formatGigabytes(limit)} is available on this host: ${largest(parts)}. ${remedy}`;
}

/** Does the same for an arena that no choice of recomputed layers brought within its budget. */
export function arenaDoesNotFit(memory: MemoryReport, budget: number): string {
  const parts = forecastParts(memory);
  return (
    `with every layer recomputed the run needs ${formatGigabytes(sum(parts))} of memory, of which the arena (activations) may ` +
    `take ${formatGigabytes(budget)} on this host: ${largest(parts)}. ${remedy}`
  );
}

/** Returns what to say where the device refuses memory that the forecast counted on. */
export function beyondForecast(refusal: string, { total, ...parts }: MemoryForecast): string {
  return `${refusal}. The run was expected to need ${formatGigabytes(total)} (${largest(parts)}): other programs may use the device's memory. ${remedy}`;
}

const remedy =
  'Lower data.batch_size.micro or data.packed_sequence_size, or train an adapter (peft) instead of all weights.';

const largest = (parts: Readonly<Record<string, number>>) =>
  Object.entries(parts)
    .sort(([, a], [, b]) => b - a)
    .slice(0, 4)
    .map(([name, bytes]) => `${name} ${formatGigabytes(bytes)}`)
    .join(', ');

const sum = (parts: Readonly<Record<string, number>>) =>
  Object.values(parts).reduce((total, bytes) => total + bytes, 0);

/** The share of the remaining memory that is kept for the engine's scratch, whose size follows only from the plan. */
const scratchShare = 0.1;

/**
 * Returns the bytes left for activations next to the context's tensors (`held`, by role) and a checkpoint's copy of
 * them.
 */
export function arenaBudget(held: Readonly<Record<TensorRole, number>>, limit: number): number {
  const tensors = Object.values(held).reduce((total, bytes) => total + bytes, 0);
  const snapshot = held.trained + held.optimizer;
  return Math.max(0, limit - tensors - snapshot) * (1 - scratchShare);
}
