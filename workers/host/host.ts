/**
 * The host worker: offers this machine's device slots to a pool, drives the ranks of the runs that hold them, and runs
 * the steps that need no slot.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { ActivityInterceptorsFactory, WorkerOptions } from '@temporalio/worker';
import { gangActivities, poolActivities, stepActivities } from '../../activities/index.js';
import { poolQueue, stepsQueue } from '../../contracts/index.js';
import type { TemperConfig } from '../../shared/installation.js';
import type { StepProcesses } from '../processes/step_processes.js';
import type { Connected } from '../temporal/connection.js';
import { othersPoll } from '../temporal/pool_pollers.js';
import { ServedWorker } from '../temporal/served_worker.js';
import { attributeRejections } from '../temporal/unhandled_rejections.js';
import { type ActivityKey, HostRecordWriter } from './host_record.js';
import { LeaseAudit } from './lease_audit.js';
import { SlotGate } from './slot_gate.js';
import { type HostIdentity, Slots } from './slots.js';

export interface HostOptions {
  pool: string;
  devices: readonly string[];
  /** Folder of the host records of this machine. */
  records: string;
}

/** Heartbeats reach the server at most this late, and cancellations the activity. */
const heartbeatThrottle = '1 second';

export class Host {
  readonly identity: HostIdentity;
  readonly #slots: Slots;
  readonly #gate: SlotGate;
  readonly #audit: LeaseAudit;
  readonly #record: HostRecordWriter;
  /** Workers of the queues that other hosts serve too. */
  readonly #sharedWorkers: ServedWorker[];
  /** Worker of the host's own queue. */
  readonly #gangWorker: ServedWorker;

  private constructor(
    identity: HostIdentity,
    slots: Slots,
    gate: SlotGate,
    audit: LeaseAudit,
    record: HostRecordWriter,
    sharedWorkers: ServedWorker[],
    gangWorker: ServedWorker,
  ) {
    this.identity = identity;
    this.#slots = slots;
    this.#gate = gate;
    this.#audit = audit;
    this.#record = record;
    this.#sharedWorkers = sharedWorkers;
    this.#gangWorker = gangWorker;
  }

  static async start(
    connected: Connected,
    config: TemperConfig,
    steps: StepProcesses,
    { pool, devices, records }: HostOptions,
    log: (text: string) => void,
  ): Promise<Host> {
    const identity = newIdentity(pool);
    const slots: Slots = new Slots({
      identity,
      devices,
      onChange: async () => {
        gate.changed();
        await record.update();
      },
      othersOffer: () => othersPoll(connected, poolQueue(pool), identity.queue),
      log,
    });
    const gate = new SlotGate(() => slots.free);
    const { namespaceId } = connected;
    const record = new HostRecordWriter(records, { queue: identity.queue, namespaceId }, () => slots.held);
    await record.open();
    const common: Omit<WorkerOptions, 'taskQueue'> = {
      connection: connected.connection,
      namespace: connected.namespace,
      maxHeartbeatThrottleInterval: heartbeatThrottle,
      // For an activity that nothing ends: by now the ranks have committed, and the process has to exit.
      shutdownForceTime: '1 minute',
      interceptors: { activity: [recordActivities(record), attributeRejections] },
    };
    const idle = { type: 'fixed-size', numSlots: 1 } as const;
    const gangWorker = await ServedWorker.start(
      { ...common, taskQueue: identity.queue, activities: { ...gangActivities(slots) } },
      log,
    );
    const stepsWorker = await ServedWorker.start(
      {
        ...common,
        taskQueue: stepsQueue(pool),
        activities: { ...stepActivities(steps.run) },
        maxConcurrentActivityTaskExecutions: config.worker.maxConcurrentSteps,
      },
      log,
    );
    const poolWorker = await ServedWorker.start(
      {
        ...common,
        identity: identity.queue,
        taskQueue: poolQueue(pool),
        activities: { ...poolActivities(slots) },
        tuner: {
          activityTaskSlotSupplier: gate,
          workflowTaskSlotSupplier: idle,
          localActivityTaskSlotSupplier: idle,
          nexusTaskSlotSupplier: idle,
        },
      },
      log,
    );
    const audit = new LeaseAudit(connected.client, () => slots.leases);
    return new Host(identity, slots, gate, audit, record, [stepsWorker, poolWorker], gangWorker);
  }

  /** Withdraws its slots, has every rank commit and stop, and resolves once their outcomes are reported. */
  async stop(): Promise<void> {
    this.#gate.close();
    this.#audit.close();
    const stopped = this.#sharedWorkers.map((worker) => worker.stop());
    await this.#slots.drain();
    await this.#gangWorker.stop();
    await Promise.all(stopped);
    await this.#record.close();
  }
}

/** Returns a new identity: a restarted host gets another queue, so that it never takes a task meant for its predecessor. */
function newIdentity(pool: string): HostIdentity {
  const host = hostname();
  const incarnation = `${Date.now().toString(36)}-${randomBytes(3).toString('hex')}`;
  return { host, incarnation, queue: `${pool}.${host}.${incarnation}` };
}

/** Notes in the host's record which activities are under way. */
function recordActivities(record: HostRecordWriter): ActivityInterceptorsFactory {
  return ({ info: { workflowExecution, activityId } }) => ({
    inbound: {
      async execute(input, next) {
        const key: ActivityKey = { ...workflowExecution!, activityId };
        record.addActivity(key);
        try {
          return await next(input);
        } finally {
          record.removeActivity(key);
        }
      },
    },
  });
}
