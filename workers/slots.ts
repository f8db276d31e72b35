/** The slots of a host: which run holds which device. */
import { ApplicationFailure } from '@temporalio/common';
import type { ProgressListener, RankHost } from '../activities/index.js';
import {
  type ControlMessage,
  type EpochOutcome,
  failureTypes,
  type Grant,
  type RunReference,
  type TrainRequest,
} from '../contracts/index.js';
import { defaultThreads } from '../engine/threads.js';
import { takeGeneration } from '../recipes/index.js';
import type { HostRecord } from './host_record.js';
import { Lease } from './lease.js';
import { RankProcess } from './rank_process.js';

export interface HostIdentity {
  host: string;
  incarnation: string;
  /** `<pool>.<host>.<incarnation>`: the host's own task queue, and the holder's name in the commit log. */
  queue: string;
}

export class Slots implements RankHost {
  private readonly leases = new Map<string, Lease>();
  private draining = false;
  /** A rank's process that has started and serves nobody yet, so that the next run need not wait for that. */
  private spare: RankProcess | null = null;

  /** @param onChange called when a slot was taken or freed; resolves when the host's record says so */
  constructor(
    private readonly identity: HostIdentity,
    private readonly devices: readonly string[],
    private readonly onChange: () => Promise<void>,
  ) {
    this.keepSpare();
  }

  /** Slots that nobody holds. */
  get free(): number {
    return this.draining ? 0 : this.devices.length - this.leases.size;
  }

  /** For the host's record. */
  get held(): HostRecord['leases'] {
    return [...this.leases.values()].map(({ run, grant, step }) => ({
      workflowId: run.run,
      generation: grant?.generation ?? null,
      step,
    }));
  }

  async reserve(run: RunReference): Promise<Grant> {
    const held = this.leases.get(run.run);
    if (held?.grant != null && !held.began) return held.grant;
    // A run that asks anew has given up what it had here.
    await held?.end();
    const lease = this.take(run);
    try {
      await this.onChange();
      const generation = await takeGeneration(run, { holder: this.identity.queue, worldSize: 1 });
      const { queue, host, incarnation } = this.identity;
      const member = { queue, host, incarnation, devices: [lease.device], firstRank: 0 };
      lease.reserve({ version: 1, run: run.run, generation, worldSize: 1, members: [member] });
      return lease.grant!;
    } catch (error) {
      await lease.end();
      throw error;
    }
  }

  private take(run: RunReference): Lease {
    const taken = new Set([...this.leases.values()].map(({ device }) => device));
    const device = this.devices.find((name) => !taken.has(name));
    if (device === undefined || this.draining) {
      throw ApplicationFailure.retryable('no slot is free on this host', failureTypes.noFreeSlot);
    }
    const lease = new Lease(
      run,
      device,
      () => this.startRank(),
      (ended) => {
        if (this.leases.get(run.run) === ended) this.leases.delete(run.run);
        this.keepSpare();
        void this.onChange().catch(() => undefined);
      },
    );
    this.leases.set(run.run, lease);
    return lease;
  }

  private startRank(): RankProcess {
    const rank = this.spare ?? new RankProcess(this.environment());
    this.spare = null;
    return rank;
  }

  private keepSpare(): void {
    if (this.spare !== null || this.free === 0) return;
    const spare = new RankProcess(this.environment());
    this.spare = spare;
    void spare.gone.then(() => {
      if (this.spare === spare) this.spare = null;
    });
  }

  /** Slots of the CPU share its cores evenly. */
  private environment(): Record<string, string> {
    if (this.devices.length === 1) return {};
    return { TEMPER_THREADS: String(Math.max(1, Math.floor(defaultThreads() / this.devices.length))) };
  }

  async train(request: TrainRequest, listener: ProgressListener): Promise<EpochOutcome | 'detached'> {
    const lease = this.leaseOf(request.grant);
    if (lease === null || this.draining) {
      throw ApplicationFailure.nonRetryable(
        `host ${this.identity.host} no longer holds a slot for generation ${request.grant.generation}`,
        failureTypes.leaseLost,
      );
    }
    return await lease.train(request, listener);
  }

  control(message: ControlMessage): void {
    this.leases.get(message.run)?.control(message.action);
  }

  detach(grant: Grant): void {
    this.leaseOf(grant)?.detach();
  }

  preempt(grant: Grant): void {
    void this.leaseOf(grant)?.makeWay();
  }

  orphan(grant: Grant, listener: ProgressListener): void {
    this.leaseOf(grant)?.orphan(listener);
  }

  async release(grant: Grant): Promise<void> {
    await this.leaseOf(grant)?.end();
  }

  /** Takes no more runs, and has every rank commit and end. */
  async drain(): Promise<void> {
    this.draining = true;
    this.spare?.kill();
    await Promise.all([...this.leases.values()].map((lease) => lease.makeWay()));
  }

  /** The lease of exactly this generation. */
  private leaseOf(grant: Grant): Lease | null {
    const lease = this.leases.get(grant.run);
    return lease?.grant?.generation === grant.generation ? lease : null;
  }
}
