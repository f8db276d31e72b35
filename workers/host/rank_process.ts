/** The parent's side of a rank: starts its process, exchanges messages with it, and notices at once when it exits. */
import { readFileSync } from 'node:fs';
import { ApplicationFailure } from '@temporalio/common';
import {
  type EpochOutcome,
  failureTypes,
  type LossDetails,
  type Progress,
  type RankCommand,
  type RankEvent,
  type RankStart,
  type RunRequests,
  rankEventSchema,
} from '../../contracts/index.js';
import { storageCredentials } from '../../shared/processes/child_environment.js';
import { ForkedProcess, reportedError } from '../../shared/processes/forked_process.js';

const program = new URL('../processes/rank.js', import.meta.url);
/** ms that a rank may take to exit by itself before it is killed. */
const exitGrace = 10_000;
/** ms after SIGKILL from which a process counts as one that nothing ends: it waits in the kernel for a disk or a driver. */
const killGrace = 10_000;

/**
 * ms without a message from a rank and without work on the CPU after which it counts as hung. A rank that computes a long
 * step sends nothing either, but works.
 */
const defaultStallLimit = 600_000;
/** Seconds of CPU time below which a silent rank does not work; its idle event loop takes some too. */
const idleCpuSeconds = 1;

interface Waiter {
  event: 'ready' | 'outcome';
  resolve(event: RankEvent): void;
  reject(error: unknown): void;
}

export class RankProcess {
  progress: Progress | null = null;
  /** Called for each report. */
  onProgress: (progress: Progress) => void = () => {};
  readonly #process: ForkedProcess<RankCommand>;
  #waiter: Waiter | null = null;
  #ending: unknown = null;
  /** `performance.now()` at the last message. */
  #lastMessageAt = performance.now();
  #reportStuck: () => void = () => {};
  /** Resolves with true when the process is gone, with false when SIGKILL has not ended it; see `gone`. */
  readonly torn: Promise<boolean>;

  /** @param environment added to this process's own */
  constructor(environment: Record<string, string>, stallLimit = defaultStallLimit) {
    this.#process = new ForkedProcess(
      program,
      (message) => this.#receive(message),
      (how) => this.#end(this.#lost(how)),
      environment,
    );
    const stuck = new Promise<false>((resolve) => {
      this.#reportStuck = () => resolve(false);
    });
    this.torn = Promise.race([this.gone.then(() => true), stuck]);
    this.#watch(stallLimit);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Resolves when the process is gone, however it ended; never while nothing ends it. */
  get gone(): Promise<void> {
    return this.#process.gone;
  }

  /** Loads the run's newest commit. @throws the rank's typed error, or RankLost */
  async start(start: RankStart): Promise<void> {
    this.#process.grant(storageCredentials([start.run.outputDir, start.model, start.data.train]));
    await this.#ask(start, 'ready');
  }

  async train(epoch: number): Promise<EpochOutcome> {
    const event = await this.#ask({ type: 'train', epoch }, 'outcome');
    return (event as Extract<RankEvent, { type: 'outcome' }>).outcome;
  }

  request(requests: RunRequests): void {
    this.#process.send({ type: 'requests', requests });
  }

  preempt(): void {
    this.#process.send({ type: 'preempt' });
  }

  /** Lets the rank close its engine, and kills it when it takes too long. Returns `torn`. */
  async exit(): Promise<boolean> {
    this.#process.send({ type: 'exit' });
    const timer = setTimeout(() => this.kill(), exitGrace);
    const torn = await this.torn;
    clearTimeout(timer);
    return torn;
  }

  /** Kills the process. Returns `torn`. */
  kill(): Promise<boolean> {
    this.#process.kill();
    const timer = setTimeout(() => {
      this.#end(this.#lost(`it is still running ${killGrace / 1000} s after SIGKILL`));
      this.#reportStuck();
    }, killGrace).unref();
    void this.gone.then(() => clearTimeout(timer));
    return this.torn;
  }

  #ask(command: RankCommand, event: Waiter['event']): Promise<RankEvent> {
    if (this.#ending !== null) return Promise.reject(this.#ending);
    return new Promise((resolve, reject) => {
      this.#waiter = { event, resolve, reject };
      this.#process.send(command);
    });
  }

  #receive(message: unknown): void {
    this.#lastMessageAt = performance.now();
    const reported = reportedError(message);
    if (reported !== null) this.#end(reported);
    else this.#handleEvent(rankEventSchema.parse(message));
  }

  #handleEvent(event: RankEvent): void {
    if (event.type === 'progress') {
      this.progress = event.progress;
      this.onProgress(event.progress);
    } else if (this.#waiter?.event === event.type) {
      const { resolve } = this.#waiter;
      this.#waiter = null;
      resolve(event);
    }
  }

  /**
   * Ends the exchange. The first reason counts: a rank that reported why it fails is not lost when its process ends.
   */
  #end(error: unknown): void {
    this.#ending ??= error;
    const waiter = this.#waiter;
    this.#waiter = null;
    waiter?.reject(this.#ending);
  }

  #lost(how: string): ApplicationFailure {
    const details: LossDetails = {
      version: 1,
      silentFor: (performance.now() - this.#lastMessageAt) / 1000,
      // The rest is the end of its output.
      ended: how.split(';')[0]!,
      progress: this.progress,
    };
    return ApplicationFailure.create({
      message: `the rank's process ended: ${how}`,
      type: failureTypes.rankLost,
      details: [details],
    });
  }

  /** Ends a rank that hangs, so that a heartbeat of its parent does not keep it going for ever. */
  #watch(stallLimit: number): void {
    let since = { lastMessageAt: this.#lastMessageAt, cpu: 0, at: performance.now() };
    const timer = setInterval(
      () => {
        const cpu = cpuSeconds(this.pid);
        const now = performance.now();
        if (cpu === null || this.#waiter === null || this.progress?.phase === 'paused') {
          since = { lastMessageAt: this.#lastMessageAt, cpu: cpu ?? 0, at: now };
        } else if (since.lastMessageAt !== this.#lastMessageAt || cpu - since.cpu > idleCpuSeconds) {
          since = { lastMessageAt: this.#lastMessageAt, cpu, at: now };
        } else if (now - since.at > stallLimit) {
          this.#end(this.#lost(`it hung: no message and no CPU use for ${stallLimit / 1000} s`));
          void this.kill();
        }
      },
      Math.max(50, stallLimit / 20),
    ).unref();
    void this.torn.then(() => clearInterval(timer));
  }
}

/** Returns the CPU time a process has used, its threads' included; null when that cannot be known. */
function cpuSeconds(pid: number | undefined): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // Clock ticks, of which Linux has a hundred a second on every platform Node.js runs on.
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return null;
  }
}
