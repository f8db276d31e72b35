/** The names by which clients, workers and workflows find each other. No imports: the workflow bundle holds this file. */

export const workflowType = 'finetune';

/** Workflows and light activities. */
export const defaultTaskQueue = 'temper';

/** Returns the queue on which hosts with a free slot offer it: of the `acquire` activity. */
export const poolQueue = (pool: string): string => `temper.pool.${pool}`;

/** Returns the queue of the steps that need no slot: data, model, evaluation, consolidation. */
export const stepsQueue = (pool: string): string => `temper.steps.${pool}`;

/**
 * Returns the task queue of a run whose client serves it itself; `ownPool` its pool: that worker takes nobody else's
 * work, and another run's parked workflow does not take its slot.
 */
export const ownQueue = (runId: string): string => `temper.run.${runId}`;
export const ownPool = (runId: string): string => `run.${runId.replace(/[^A-Za-z0-9._-]/g, '_')}`;

/** Signals that a person sends (no argument), and those that hosts send. */
export const signalNames = {
  pause: 'pause',
  resume: 'resume',
  stop: 'stop',
  checkpointNow: 'checkpointNow',
  /** Argument: Progress. */
  report: 'report',
  /** Argument: HostLost. */
  hostLost: 'hostLost',
} as const;

export const queryNames = {
  /** Answers with a RunStatus. */
  progress: 'progress',
} as const;

/** Search attributes and their types. Where a namespace refuses them, the memo carries the same names. */
export const searchAttributeTypes = {
  TemperModel: 'KEYWORD',
  TemperState: 'KEYWORD',
  TemperStep: 'INT',
  TemperLoss: 'DOUBLE',
} as const;

/** Entries of a timeline that the workflow's state, its query and its result hold: the newest ones. */
export const timelineWindow = 100;

/** Failure types that a gang's activities use in addition to the codes of `shared/errors.ts`. */
export const failureTypes = {
  /** A rank's process ended without an outcome. Details: LossDetails. */
  rankLost: 'RankLost',
  /** A rank misses another one of its gang: PeerLost of `shared/errors.ts`. */
  peerLost: 'PeerLost',
  /** A host worker ended while it held the activity. Details: LossDetails. */
  hostLost: 'HostLost',
  /** The host no longer holds a slot for this generation. */
  leaseLost: 'LeaseLost',
  /** No slot is free; another host, or a later attempt, may have one. */
  noFreeSlot: 'NoFreeSlot',
  /** The request asked this host to leave the run to another one, and another one is there. */
  hostAvoided: 'HostAvoided',
  /** The SDK's failure type of an activity that a worker's shutdown ended. */
  workerShutdown: 'WorkerShutdown',
  /** A process that computes a step for its host worker was killed or ran out of its bounds. Details: CrashDetails. */
  processCrashed: 'ProcessCrashed',
  /** The same input crashed processes on two hosts, or twice on one: ends the run. */
  poisonInput: 'PoisonInput',
} as const;
