/** The slots of a host: which run holds which device. */
import { ApplicationFailure } from '@temporalio/common';
import type { ProgressListener, RankHost } from '../../activities/index.js';
import {
  type AcquireRequest,
  type ControlMessage,
  type EpochOutcome,
  failureTypes,
  type Grant,
  type RunReference,
  type TrainRequest,
} from '../../contracts/index.js';
import { defaultThreads } from '../../engine/index.js';
import { takeGeneration } from '../../recipes/index.js';
import type { HostRecord } from './host_record.js';
import { Lease } from './lease.js';
import { RankProcess } from './rank_process.js';

export interface HostIdentity {
  host: string;
  incarnation: string;
  /** `<pool>.<host>.<incarnation>`: the host's own task queue, and the holder's name in the commit log. */
  queue: string;
}

export interface SlotsOptions {
  identity: HostIdentity;
  devices: readonly string[];
  /** Called when a slot was taken or freed; resolves when the host's record says so, and rejects when it cannot be written. */
  onChange(): Promise<void>;
  /** Returns whether another host offers slots to the pool. */
  othersOffer(): Promise<boolean>;
  log(text: string): void;
}

/** ms before a host that has withdrawn its slots tries its disk again. */
const withdrawnPause = 5000;

export class Slots implements RankHost {
  readonly #options: SlotsOptions;
  readonly #leases = new Map<string, Lease>();
  /** Ended leases whose ranks are still there, although they were killed. */
  readonly #quarantined = new Set<Lease>();
  #draining = false;
  /** True while the host's own disk fails, so that any run would fail here. */
  #withdrawn = false;
  /** A rank's process that has started and serves nobody yet, so that the next run need not wait for that. */
  #spare: RankProcess | null = null;

  constructor(options: SlotsOptions) {
    this.#options = options;
    this.#keepSpare();
  }

  /** Slots that are on offer. */
  get free(): number {
    if (this.#draining || this.#withdrawn) return 0;
    return this.#options.devices.length - this.#leases.size - this.#quarantined.size;
  }

  get leases(): Lease[] {
    return [...this.#leases.values()];
  }

  /** The slots in use, for the host's record. */
  get held(): HostRecord['leases'] {
    return this.leases.map(({ run, grant, step }) => ({
      workflowId: run.id,
      generation: grant?.generation ?? null,
      step,
    }));
  }

  async reserve({ run, avoid }: AcquireRequest): Promise<Grant> {
    const { identity, othersOffer } = this.#options;
    const existing = this.#leases.get(run.id);
    if (existing?.grant != null && !existing.began) return existing.grant;
    // A run that asks again has given up what it had here.
    await existing?.end();
    if (avoid.includes(identity.queue) && (await othersOffer())) {
      throw ApplicationFailure.nonRetryable(
        `host ${identity.host} leaves the run to another host`,
        failureTypes.hostAvoided,
      );
    }
    const lease = this.#startLease(run);
    try {
      if (!(await this.#publishChange()))
        throw noFreeSlot(`host ${identity.host} cannot write to its own disk`);
      const generation = await takeGeneration(run, { holder: identity.queue, worldSize: 1 });
      const { queue, host, incarnation } = identity;
      const member = { queue, host, incarnation, devices: [lease.device], firstRank: 0 };
      lease.reserve({ version: 1, run: run.id, generation, worldSize: 1, members: [member] });
      return lease.grant!;
    } catch (error) {
      await lease.end();
      throw error;
    }
  }

  #startLease(run: RunReference): Lease {
    const usedDevices = new Set([...this.leases, ...this.#quarantined].map(({ device }) => device));
    const device = this.#options.devices.find((name) => !usedDevices.has(name));
    if (device === undefined || this.free === 0) throw noFreeSlot('no slot is free on this host');
    const lease = new Lease(
      run,
      device,
      () => this.#startRank(),
      (ended, torn) => this.#onLeaseEnd(ended, torn),
    );
    this.#leases.set(run.id, lease);
    return lease;
  }

  #onLeaseEnd(lease: Lease, torn: boolean): void {
    if (this.#leases.get(lease.run.id) === lease) this.#leases.delete(lease.run.id);
    if (!torn) this.#quarantine(lease);
    this.#keepSpare();
    void this.#publishChange();
  }

  #quarantine(lease: Lease): void {
    this.#quarantined.add(lease);
    const slot = `slot ${lease.device}`;
    this.#options.log(
      `${slot} is quarantined: the rank of run '${lease.run.id}' is still running after SIGKILL`,
    );
    void lease.gone.then(() => {
      this.#options.log(`${slot} is available again`);
      this.#quarantined.delete(lease);
      void this.#publishChange();
    });
  }

  /** Has the host's record written. A host that cannot offers no slots until it can: every run would fail on it. */
  async #publishChange(): Promise<boolean> {
    const { onChange, log } = this.#options;
    try {
      await onChange();
      return true;
    } catch (error) {
      if (!this.#withdrawn) {
        this.#withdrawn = true;
        log(`the host has withdrawn its slots: ${(error as Error).message}`);
        void this.#offerAgain();
      }
      return false;
    }
  }

  async #offerAgain(): Promise<void> {
    const { onChange, log } = this.#options;
    while (this.#withdrawn && !this.#draining) {
      await new Promise((resolve) => setTimeout(resolve, withdrawnPause).unref());
      try {
        await onChange();
        this.#withdrawn = false;
      } catch {
        // The disk still fails.
      }
    }
    if (this.#draining) return;
    log('the host offers its slots again');
    await this.#publishChange();
  }

  #startRank(): RankProcess {
    const rank = this.#spare ?? new RankProcess(this.#environment());
    this.#spare = null;
    return rank;
  }

  #keepSpare(): void {
    if (this.#spare !== null || this.free === 0) return;
    const spare = new RankProcess(this.#environment());
    this.#spare = spare;
    void spare.gone.then(() => {
      if (this.#spare === spare) this.#spare = null;
    });
  }

  /** Returns the variables of a slot's rank: slots of the CPU share its cores evenly. */
  #environment(): Record<string, string> {
    const { length } = this.#options.devices;
    if (length === 1) return {};
    return { TEMPER_THREADS: String(Math.max(1, Math.floor(defaultThreads() / length))) };
  }

  async train(request: TrainRequest, listener: ProgressListener): Promise<EpochOutcome | 'detached'> {
    if (this.#draining) throw this.#leaseLost(request.grant);
    return await this.#requireLease(request.grant).train(request, listener);
  }

  control({ grant, requests }: ControlMessage): void {
    this.#requireLease(grant).request(requests);
  }

  detach(grant: Grant): void {
    this.#findLease(grant)?.detach();
  }

  preempt(grant: Grant): void {
    void this.#findLease(grant)?.preempt();
  }

  orphan(grant: Grant, listener: ProgressListener): void {
    this.#findLease(grant)?.orphan(listener);
  }

  async release(grant: Grant): Promise<boolean> {
    return (await this.#findLease(grant)?.end()) ?? true;
  }

  /** Takes no more runs, and has every rank commit and end. */
  async drain(): Promise<void> {
    this.#draining = true;
    void this.#spare?.kill();
    await Promise.all(this.leases.map((lease) => lease.preempt()));
  }

  /** Returns the lease of exactly this generation. */
  #findLease(grant: Grant): Lease | null {
    const lease = this.#leases.get(grant.run);
    return lease?.grant?.generation === grant.generation ? lease : null;
  }

  #requireLease(grant: Grant): Lease {
    const lease = this.#findLease(grant);
    if (lease === null) throw this.#leaseLost(grant);
    return lease;
  }

  #leaseLost({ generation }: Grant): ApplicationFailure {
    return ApplicationFailure.nonRetryable(
      `host ${this.#options.identity.host} no longer holds a slot for generation ${generation}`,
      failureTypes.leaseLost,
    );
  }
}

const noFreeSlot = (message: string): ApplicationFailure =>
  ApplicationFailure.nonRetryable(message, failureTypes.noFreeSlot);
