/**
 * Serves every queue of a run with activities that follow a script, so that only the workflow is under test: which gangs
 * it requests, what it does when they are lost, and what it reports.
 */
import { Context } from '@temporalio/activity';
import { Client, Connection, type WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type {
  AcquireRequest,
  Admission,
  ControlActivities,
  EpochEvaluation,
  GangActivities,
  PoolActivities,
  StepActivities,
  TrainOutcome,
  TrainRequest,
} from '../../contracts/activities.js';
import type {
  EpochOutcome,
  Grant,
  Progress,
  Resumed,
  RunRequests,
  TimelineEntry,
} from '../../contracts/index.js';
import { defaultTaskQueue, poolQueue, stepsQueue, workflowType } from '../../contracts/names.js';
import { workflowBundle } from '../../workers/control/workflow_bundle.js';

export const digest = 'a'.repeat(64);
export const hostQueue = 'test.host.1';

/** The behavior of `trainEpoch`, call by call; the last one is repeated. */
export type TrainScript = ((
  request: TrainRequest,
  context: Context,
  gang: ScriptedGang,
) => Promise<TrainOutcome>)[];

const fresh: Resumed = {
  fromStep: 0,
  stepsLost: null,
  exactness: 'fresh',
  loadSeconds: 2,
  firstStepSeconds: 1,
  damage: [],
};

export function outcome(
  kind: EpochOutcome['kind'],
  step: number,
  more: Partial<EpochOutcome> = {},
): TrainOutcome {
  return {
    kind: 'ended',
    outcome: {
      kind,
      reason: kind,
      step,
      epoch: 1,
      commit: 1,
      loss: 1,
      validation: {},
      resumed: fresh,
      ...more,
    },
  };
}

export function progress(generation: number, step: number, more: Partial<Progress> = {}): Progress {
  return {
    version: 1,
    phase: 'training',
    generation,
    step,
    totalSteps: 100,
    epoch: 0.5,
    loss: 2,
    valLoss: null,
    lr: null,
    tokensPerSecond: 1000,
    eta: 10,
    committedStep: null,
    resumed: fresh,
    ...more,
  };
}

export class ScriptedGang {
  /** Every call since `follow`, in order. */
  calls: string[] = [];
  requests: TrainRequest[] = [];
  /** The answers of `evaluateEpoch`, call by call. */
  evaluations: EpochEvaluation[] = [];
  /** The damage that `evaluate` reports. */
  damage: string[] = [];
  /** The answer of `release`. */
  torn = true;
  acquires: AcquireRequest[] = [];
  /** Every entry that `recordTimeline` has received. */
  timelineEntries: TimelineEntry[] = [];
  /** The errors that an activity throws, call by call, before it works. */
  failures: Record<string, unknown[]> = {};
  /** Awaited by `acquire` before it answers. */
  slot: Promise<void> = Promise.resolve();
  /** Resolved by the `detach` activity. */
  detached: () => void = () => {};
  readonly #connections: { native: NativeConnection; plain: Connection };
  #script: TrainScript = [];
  #admission: () => Promise<Admission> = async () => admit();
  #generation = 0;
  #workers: Worker[] = [];
  #running: Promise<unknown> = Promise.resolve();
  #counter = 0;

  private constructor(
    readonly client: Client,
    connections: { native: NativeConnection; plain: Connection },
  ) {
    this.#connections = connections;
  }

  static async start(address: string): Promise<ScriptedGang> {
    silenceNotices();
    const native = await NativeConnection.connect({ address });
    const plain = await Connection.connect({ address });
    const gang = new ScriptedGang(new Client({ connection: plain }), { native, plain });
    await gang.#serve();
    return gang;
  }

  /** Begins a new script; nothing of an earlier one may be under way. */
  follow(script: TrainScript, admission: () => Promise<Admission> = async () => admit()): void {
    this.#script = script;
    this.#admission = admission;
    this.#generation = 0;
    this.calls = [];
    this.requests = [];
    this.acquires = [];
    this.timelineEntries = [];
    this.evaluations = [];
    this.damage = [];
    this.torn = true;
    this.failures = {};
    this.slot = Promise.resolve();
  }

  async #serve(): Promise<void> {
    const connection = this.#connections.native;
    const common = { connection, maxHeartbeatThrottleInterval: '100 ms' } as const;
    this.#workers = await Promise.all([
      Worker.create({
        ...common,
        taskQueue: defaultTaskQueue,
        workflowBundle: { codePath: workflowBundle },
        activities: { ...this.#control() },
        // Every workflow task replays the history from its beginning.
        maxCachedWorkflows: 0,
      }),
      Worker.create({ ...common, taskQueue: stepsQueue('test'), activities: { ...this.#steps() } }),
      Worker.create({ ...common, taskQueue: poolQueue('test'), activities: { ...this.#pool() } }),
      Worker.create({ ...common, taskQueue: hostQueue, activities: { ...this.#gang() } }),
    ]);
    this.#running = Promise.all(this.#workers.map((worker) => worker.run()));
  }

  async start(input: unknown = { recipe: {} }): Promise<WorkflowHandleWithFirstExecutionRunId> {
    this.#counter += 1;
    return await this.client.workflow.start(workflowType, {
      taskQueue: defaultTaskQueue,
      workflowId: `scripted-${process.pid}-${Date.now()}-${this.#counter}`,
      args: [input],
    });
  }

  async stop(): Promise<void> {
    for (const worker of this.#workers) worker.shutdown();
    await this.#running;
    await this.#connections.native.close();
    await this.#connections.plain.close();
  }

  #call(name: string, text = name): void {
    this.calls.push(text);
    const failure = this.failures[name]?.shift();
    if (failure !== undefined) throw failure;
  }

  #control(): ControlActivities {
    return {
      admit: async () => {
        this.#call('admit');
        return await this.#admission();
      },
      recordTimeline: async ({ entries }) => {
        const failure = this.failures.recordTimeline?.shift();
        if (failure !== undefined) throw failure;
        this.timelineEntries.push(...entries);
        return entries.at(-1)!.number;
      },
      finish: async ({ end }) => {
        this.calls.push(`finish ${end.state === 'failed' ? `failed: ${end.failure}` : end.state}`);
      },
    };
  }

  #steps(): StepActivities {
    const memory = {
      weights: 1,
      trained: 1,
      gradients: 1,
      optimizer: 1,
      arena: 1,
      workspace: 1,
      snapshot: 1,
      total: 7,
    };
    return {
      prepareData: async () => {
        this.#call('prepareData');
        return { train: '/data/train', validation: {}, report: {} };
      },
      shardModel: async () => {
        this.#call('shardModel');
        return { folder: '/model', digest, parameters: 10, trainedParameters: 1, memory };
      },
      evaluate: async () => {
        this.#call('evaluate');
        const scores = { before: {}, after: {} };
        return {
          before: { val_loss: 2 },
          after: { val_loss: 1 },
          scores,
          commit: 1,
          step: 10,
          damage: this.damage,
        };
      },
      evaluateEpoch: async ({ step }) => {
        this.#call('evaluateEpoch', `evaluateEpoch ${step}`);
        return this.evaluations.shift() ?? { scores: {}, stop: null, damage: [] };
      },
      consolidate: async () => {
        this.#call('consolidate');
        return { model: '/run/final', published: null, metrics: { val_loss: 1 } };
      },
    };
  }

  #pool(): PoolActivities {
    return {
      acquire: async (request): Promise<Grant> => {
        this.acquires.push(request);
        this.#call('acquire', `acquire ${this.#generation + 1}`);
        await this.slot;
        this.#generation += 1;
        const member = { queue: hostQueue, host: 'host', incarnation: '1', devices: ['cpu:0'], firstRank: 0 };
        const { id } = request.run;
        return { version: 1, run: id, generation: this.#generation, worldSize: 1, members: [member] };
      },
    };
  }

  #gang(): GangActivities {
    return {
      trainEpoch: async (request) => {
        this.calls.push(`train ${request.epoch} of generation ${request.grant.generation}`);
        this.requests.push(request);
        const act = this.#script[Math.min(this.requests.length, this.#script.length) - 1]!;
        return await act(request, Context.current(), this);
      },
      control: async ({ requests }) => this.#call('control', `control ${describeRequests(requests)}`),
      detach: async () => {
        this.calls.push('detach');
        this.detached();
      },
      release: async ({ generation }) => {
        this.#call('release', `release ${generation}`);
        return { torn: this.torn };
      },
    };
  }
}

/** Returns requests as the words that stand for them in `calls`. */
function describeRequests({ paused, stopping, checkpoint }: RunRequests): string {
  const state = stopping ? 'stopping' : paused ? 'paused' : 'running';
  return checkpoint === 0 ? state : `${state}, checkpoint ${checkpoint}`;
}

let isQuiet = false;

/** Turns off the SDK's notices of failures, which many scripts cause on purpose. */
function silenceNotices(): void {
  if (!isQuiet) Runtime.install({ logger: new DefaultLogger('ERROR') });
  isQuiet = true;
}

/** Returns the admission of a run of two epochs. */
export function admit(searchAttributes = true, evaluatesEpochs = false): Admission {
  const run = { version: 1, id: 'run', outputDir: '/run', recipeDigest: digest } as const;
  const admitted = { run, model: 'tiny', epochs: 2, pool: 'test', evaluatesEpochs, completed: null };
  return { admitted, searchAttributes, claim: 'claim' };
}

/** Heartbeats until the activity is cancelled. */
export async function untilCancelled(context: Context, details: Progress | null = null): Promise<void> {
  const timer = setInterval(() => context.heartbeat(details), 50);
  await context.cancelled.catch(() => undefined);
  clearInterval(timer);
}
