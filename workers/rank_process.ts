/** The parent's side of a rank: starts its process, speaks to it, and sees its death at once. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
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

type ControlAction = Extract<RankCommand, { type: 'control' }>['action'];

const program = fileURLToPath(new URL('./rank.js', import.meta.url));
/** Lines of the process's last words that are kept for the failure's message. */
const keptLines = 20;
/** ms that a rank may take to end by itself before it is killed. */
const exitGrace = 10_000;

interface Waiter {
  event: 'ready' | 'outcome';
  resolve(event: RankEvent): void;
  reject(error: unknown): void;
}

export class RankProcess {
  /** Resolves when the process is gone, however it went. */
  readonly gone: Promise<void>;
  progress: Progress | null = null;
  private readonly child: ChildProcess;
  private waiter: Waiter | null = null;
  private ending: unknown = null;
  private aliveAt = new Date();
  private lastWords: string[] = [];

  /**
   * @param environment added to this process's own
   * @param onProgress called for each report
   */
  constructor(
    environment: Record<string, string>,
    private readonly onProgress: (progress: Progress) => void,
  ) {
    this.child = fork(program, [], {
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, ...environment },
    });
    this.child.on('message', (message) => this.hear(rankEventSchema.parse(message)));
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => this.keep(text));
    }
    this.gone = new Promise((resolve) => {
      // 'close' comes after the last words were read; 'error' when there never was a process.
      this.child.on('close', (code, signal) => {
        this.end(this.lost(signal === null ? `exit code ${code}` : `killed by ${signal}`));
        resolve();
      });
      this.child.on('error', (error) => {
        this.end(this.lost(error.message));
        resolve();
      });
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
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
    this.send({ type: 'control', action });
  }

  /** Lets the rank close its engine, and kills it when it takes too long. */
  async exit(): Promise<void> {
    this.send({ type: 'exit' });
    const timer = setTimeout(() => this.kill(), exitGrace);
    await this.gone;
    clearTimeout(timer);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  private ask(command: RankCommand, event: Waiter['event']): Promise<RankEvent> {
    if (this.ending !== null) return Promise.reject(this.ending);
    return new Promise((resolve, reject) => {
      this.waiter = { event, resolve, reject };
      this.send(command);
    });
  }

  private send(command: RankCommand): void {
    // A channel that is closed already ends in 'close', which tells whoever waits.
    if (this.child.connected) this.child.send(command, () => {});
  }

  private hear(event: RankEvent): void {
    this.aliveAt = new Date();
    if (event.type === 'progress') {
      this.progress = event.progress;
      this.onProgress(event.progress);
    } else if (event.type === 'failed') {
      if (event.stack !== null) this.keep(event.stack);
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
    const words = this.lastWords.length === 0 ? '' : `; its last words:\n${this.lastWords.join('\n')}`;
    return ApplicationFailure.create({
      message: `the rank's process ended: ${how}${words}`,
      type: failureTypes.rankLost,
      details: [details],
    });
  }

  private keep(text: string): void {
    this.lastWords = [...this.lastWords, ...text.split('\n').filter((line) => line.trim() !== '')].slice(
      -keptLines,
    );
  }
}
