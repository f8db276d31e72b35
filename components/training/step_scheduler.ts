/** The schedule of a run, as a pure function of its size. Steps count from 1, epochs and packs from 0. */
export interface Schedule {
  /** Packs of one epoch. */
  packs: number;
  /** Packs of a step. */
  globalBatch: number;
  /** Packs of a micro-batch. */
  microBatch: number;
  epochs: number;
  maxSteps: number | null;
  /** Checkpoint every this many steps; null: at ends of epochs only. */
  saveEvery: number | null;
  /** Validate every this many steps; null: at ends of epochs only. */
  validateEvery: number | null;
}

export interface StepPosition {
  step: number;
  epoch: number;
  /** First pack of the step in the epoch's order, and how many it takes. */
  cursor: number;
  packs: number;
  lastOfEpoch: boolean;
  last: boolean;
}

export function stepsPerEpoch(schedule: Schedule): number {
  return Math.ceil(schedule.packs / schedule.globalBatch);
}

export function totalSteps(schedule: Schedule): number {
  const all = stepsPerEpoch(schedule) * schedule.epochs;
  return schedule.maxSteps === null ? all : Math.min(all, schedule.maxSteps);
}

/** Returns the position of step `step`. The last step of an epoch takes the packs that are left. */
export function stepPosition(schedule: Schedule, step: number): StepPosition {
  const perEpoch = stepsPerEpoch(schedule);
  const epoch = Math.floor((step - 1) / perEpoch);
  const within = (step - 1) % perEpoch;
  const cursor = within * schedule.globalBatch;
  const last = step === totalSteps(schedule);
  return {
    step,
    epoch,
    cursor,
    packs: Math.min(schedule.globalBatch, schedule.packs - cursor),
    lastOfEpoch: within === perEpoch - 1 || last,
    last,
  };
}

export function validatesAfter(schedule: Schedule, position: StepPosition): boolean {
  return (
    position.lastOfEpoch || (schedule.validateEvery !== null && position.step % schedule.validateEvery === 0)
  );
}

export function savesAfter(schedule: Schedule, position: StepPosition): boolean {
  return position.lastOfEpoch || (schedule.saveEvery !== null && position.step % schedule.saveEvery === 0);
}
