/** What a run's plans will take on a host, and what the host has. */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { MemoryForecast } from '../../contracts/index.js';
import { createContext } from '../../engine/index.js';
import type { CompiledRun } from './compile.js';

/** Bytes that a process here may use: the machine's memory, or its cgroup's limit where that is lower. */
export function memoryLimit(): number {
  const limits = ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'].map((file) => {
    try {
      return Number(readFileSync(file, 'utf8'));
    } catch {
      return Number.NaN; // no such cgroup, or `max`
    }
  });
  return Math.min(totalmem(), ...limits.filter((limit) => limit > 0));
}

/** Share of the machine that a rank may fill; the rest is the system's, Node's and the page cache's. */
export const usableShare = 0.9;

/** Bytes that the engine's scratch will take, asked of the engine without allocating the plan's tensors. */
function workspaceBytes(compiled: CompiledRun): number {
  const context = createContext();
  try {
    const plans = [compiled.training, ...(compiled.validation === null ? [] : [compiled.validation])];
    for (const { tensors } of plans) {
      // Pages are committed when first touched, so this reserves addresses and no memory.
      for (const { name, dtype, shape } of tensors) {
        if (!context.tensors.has(name)) context.allocate(name, dtype, shape);
      }
    }
    return Math.max(...plans.map(({ plan }) => context.load(plan).workspaceBytes));
  } finally {
    context.close();
  }
}

/** Bytes per rank, exact but for the snapshot, which exists only while a checkpoint is written. */
export function forecastMemory(compiled: CompiledRun): MemoryForecast {
  const { memory } = compiled.training;
  const arena = Math.max(memory.arena, compiled.validation?.memory.arena ?? 0);
  const parts = {
    weights: memory.frozen + memory.constants,
    trained: memory.trained,
    gradients: memory.gradients,
    optimizer: memory.moments,
    arena,
    workspace: workspaceBytes(compiled),
    snapshot: memory.trained + memory.moments,
  };
  return { ...parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0) };
}
