/** One schedule: three writers take generations of a run, resume, save, are stopped and killed, over an unreliable store. */
import {
  CheckpointSaver,
  loadNewestSound,
  MetricsJournal,
  requireGeneration,
  takeClaim,
  takeGeneration,
} from '../../../components/checkpoint/index.js';
import type { StepMetrics } from '../../../contracts/index.js';
import { TemperError } from '../../../shared/errors.js';
import { Random } from '../../support/random.js';
import { Invariants, Violation } from './invariants.js';
import { type Faults, UnreliableStorage } from './memory_storage.js';
import { Scheduler } from './scheduler.js';

const writers = 3;
const digest = 'a'.repeat(64);
const signature = { engine: '1', isa: 'portable', device: 'cpu', threads: 1, libraries: {} };
const reliable: Faults = { read: 0, change: 0 };

/** Runs the schedule of a seed. Returns what was violated and the changes that led there, or null. */
export async function simulate(seed: number): Promise<{ violation: string; trace: string[] } | null> {
  const random = new Random(seed);
  const scheduler = new Scheduler(random);
  const invariants = new Invariants();
  const simulation = { random, scheduler, invariants };
  let failure: unknown = null;
  const noteFailure = (error: unknown): void => {
    failure ??= error;
  };
  const start = (work: Promise<void>) => void work.catch(noteFailure);
  for (let index = 0; index < writers; index += 1) start(runWriter(simulation, `writer ${index}`));
  await scheduler.run().catch(noteFailure);
  if (failure === null && invariants.violation === null) {
    start(finishUndisturbed(simulation));
    await scheduler.run().catch(noteFailure);
  }
  const violation = invariants.violation ?? (failure instanceof Violation ? failure.message : null);
  if (violation !== null) return { violation, trace: invariants.trace };
  if (failure !== null) throw failure;
  return null;
}

interface Simulation {
  random: Random;
  scheduler: Scheduler;
  invariants: Invariants;
}

/** Simulates a host that restarts its rank a few times, whatever ended the one before. */
async function runWriter(simulation: Simulation, name: string): Promise<void> {
  const { random, scheduler } = simulation;
  const faults = { read: random.next() * 0.02, change: random.next() * 0.2 };
  for (let incarnation = 1; incarnation <= 3; incarnation += 1) {
    const actor = `${name}.${incarnation}`;
    const killed = new Promise<void>((resolve) => {
      if (random.chance(0.3)) scheduleKill(scheduler, actor, 10 + random.below(60), resolve);
    });
    await Promise.race([
      trainRank(simulation, actor, faults).catch((error: unknown) => {
        if (error instanceof Violation || !(error instanceof TemperError)) throw error;
      }),
      killed,
    ]);
  }
  // A request that is still on its way may arrive after all actors have ended.
  await scheduler.turn(name);
}

/** Kills an actor some turns from now. */
function scheduleKill(scheduler: Scheduler, actor: string, turns: number, killed: () => void): void {
  if (turns > 0) {
    scheduler.later(() => scheduleKill(scheduler, actor, turns - 1, killed));
    return;
  }
  scheduler.kill(actor);
  killed();
}

async function trainRank(simulation: Simulation, actor: string, faults: Faults): Promise<void> {
  const { random, scheduler, invariants } = simulation;
  const storage = new UnreliableStorage(invariants.store, actor, scheduler, random, faults);
  if (random.chance(0.1)) {
    const namespace = { server: 'memory', namespace: 'default', namespaceId: '1' };
    await takeClaim(storage, { ...namespace, workflowId: 'run', firstRunId: actor });
  }
  const { generation } = await takeGeneration(storage, { holder: actor, worldSize: 1 });
  invariants.generations.set(actor, generation);
  const { entry, damage } = await loadNewestSound(storage, async (checkpoint) => {
    const { step } = checkpoint.entry.trainer;
    await checkpoint.stream((name, _, chunk) => {
      if (chunk[0] !== step) throw new Violation(`step ${step}: ${name} holds ${chunk[0]}`);
    });
  });
  invariants.checkResume(generation, entry, damage);
  const journal = await MetricsJournal.open({ storage, generation, resumedFrom: entry });
  const saver = new CheckpointSaver({
    storage,
    generation,
    recipeDigest: digest,
    planDigest: digest,
    signature,
    resumedFrom: entry,
    journal,
    keepLast: 1 + random.below(2),
  });
  let step = entry?.trainer.step ?? 0;
  for (let save = 0; save < 3; save += 1) {
    if (random.chance(0.15)) scheduler.stop(actor, 5 + random.below(60));
    if (random.chance(0.2)) await requireGeneration(storage, generation);
    if (step === 0 || random.chance(0.85)) {
      step += 1;
      journal.append(stepLine(step, generation));
    }
    await saveStep(saver, step, random).catch((error: unknown) => {
      // A rank whose disk was full for a while continues to save.
      if (error instanceof Violation || random.chance(0.5)) throw error;
    });
  }
  await saver.settle();
  await journal.publish();
}

function stepLine(step: number, generation: number): StepMetrics {
  return {
    ...{ step, epoch: 0, loss: 1, grad_norm: 1, lr: 1, mem: 1, tps: 1, tps_per_device: 1 },
    ...{ num_tokens_per_step: 1, num_label_tokens: 1, timestamp: 0, generation },
  };
}

async function saveStep(saver: CheckpointSaver, step: number, random: Random): Promise<void> {
  const best = random.chance(0.3)
    ? { metric: 'val_loss', value: 1, step: random.below(step), misses: 0 }
    : null;
  const position = { step, epoch: 0, cursor: step, seed: 1, tokens: step, supervisedTokens: step };
  const trainer = { ...position, best, validation: {} };
  const tensors = ['w', 'm:w'].map((name) => ({
    name,
    dtype: 'f32' as const,
    role: 'trained' as const,
    shape: [2],
    rows: [0, 2] as const,
    data: new Uint8Array(8).fill(step),
  }));
  const { committed } = await saver.begin({ trainer, tensors });
  if (random.chance(0.5)) await committed;
  else committed.catch(() => undefined);
}

/** Runs a last generation on a store that works again: it resumes the newest commit, and its first commit removes all leftovers. */
async function finishUndisturbed(simulation: Simulation): Promise<void> {
  await trainRank(simulation, 'last writer', reliable);
  simulation.invariants.checkLeftovers();
}
