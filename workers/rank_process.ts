/** The parent's side of a rank: starts its process, speaks to it, and sees its death at once. */
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
  rankEventSchema,
} from '../contracts/index.js';
import { TemperError } from '../shared/errors.js';
import { ForkedProcess } from '../shared/forked_process.js';

type ControlAction = Extract<RankCommand, { type: 'control' }>['action'];

const program = new URL('./rank.js', import.meta.url);
/** ms that a rank may take to end by itself before it is killed. */
const exitGrace = 10_000;

/**
 * ms without a word from a rank and without work on the CPU after which it counts as hung. A rank that computes a long
 * step says nothing either, but works.
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
  private readonly process: ForkedProcess<RankCommand>;
  private waiter: Waiter | null = null;
  private ending: unknown = null;
  private aliveAt = new Date();

  /** @param environment added to this process's own */
  constructor(environment: Record<string, string>, stallLimit = defaultStallLimit) {
    this.process = new ForkedProcess(
      program,
      (message) => this.hear(rankEventSchema.parse(message)),
      (how) => this.end(this.lost(how)),
      environment,
    );
    this.watch(stallLimit);
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  /** Resolves when the process is gone, however it went. */
  get gone(): Promise<void> {
    return this.process.gone;
  }

  /** Loads the run's newest commit. Throws the rank's typed error, or RankLost. */
  async start(start: RankStart): Promise<void> {
    await this.ask(start, 'ready');
  }

  async train(epoch: number): Promise<EpochOutcome> {
    const event = await this.ask({ type: 'train', epoch }, 'outcome');
    return (event as Extract<RankEvent, { type: 'outcome' }>).outcome;
  }

  control(action: ControlAction): void {
    this.process.send({ type: 'control', action });
  }

  /** Lets the rank close its engine, and kills it when it takes too long. */
  async exit(): Promise<void> {
    this.process.send({ type: 'exit' });
    const timer = setTimeout(() => this.kill(), exitGrace);
    await this.gone;
    clearTimeout(timer);
  }

  kill(): void {
    this.process.kill();
  }

  private ask(command: RankCommand, event: Waiter['event']): Promise<RankEvent> {
    if (this.ending !== null) return Promise.reject(this.ending);
    return new Promise((resolve, reject) => {
      this.waiter = { event, resolve, reject };
      this.process.send(command);
    });
  }

  private hear(event: RankEvent): void {
    this.aliveAt = new Date();
    if (event.type === 'progress') {
      this.progress = event.progress;
      this.onProgress(event.progress);
    } else if (event.type === 'failed') {
      if (event.stack !== null) this.process.keep(event.stack);
      this.end(new TemperError(event.code, event.message));
    } else if (this.waiter?.event === event.type) {
      const { resolve } = this.waiter;
      this.waiter = null;
      resolve(event);
    }
  }

  /** The first reason counts: a rank that told why it fails is not lost when its process ends. */
  private end(error: unknown): void {
    this.ending ??= error;
    const { waiter } = this;
    this.waiter = null;
    waiter?.reject(this.ending);
  }

  private lost(how: string): ApplicationFailure {
    const details: LossDetails = { version: 1, aliveAt: this.aliveAt.toISOString(), progress: this.progress };
    return ApplicationFailure.create({
      message: `the rank's process ended: ${how}`,
      type: failureTypes.rankLost,
      details: [details],
    });
  }

  /** Ends a rank that hangs, so that a heartbeat of its parent does not keep it alive for ever. */
  private watch(stallLimit: number): void {
    let since = { event: this.aliveAt, cpu: 0, at: Date.now() };
    const timer = setInterval(
      () => {
        const cpu = cpuSeconds(this.pid);
        if (cpu === null || this.waiter === null || this.progress?.phase === 'paused') {
          since = { event: this.aliveAt, cpu: cpu ?? 0, at: Date.now() };
        } else if (since.event !== this.aliveAt || cpu - since.cpu > idleCpuSeconds) {
          since = { event: this.aliveAt, cpu, at: Date.now() };
        } else if (Date.now() - since.at > stallLimit) {
          this.end(this.lost(`it hung: no word and no work for ${stallLimit / 1000} s`));
          this.kill();
        }
      },
      Math.max(50, stallLimit / 20),
    ).unref();
    void this.gone.then(() => clearInterval(timer));
  }
}

/** CPU time a process has used, its threads' included; null where that cannot be known. */
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
