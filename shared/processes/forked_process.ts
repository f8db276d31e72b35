/** Child processes that compute for their parent: `ForkedProcess` and `Conversation` there, `serve` in the child. */
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatGigabytes } from '../format.js';
import { loadInstallation } from '../installation.js';
import { childEnvironment } from './child_environment.js';
import { encodeFailure, errorFrom, type Failure, failureSchema } from './failures.js';
import { endWithParent } from './parent_death.js';

/** Lines of a process's output that are kept, for the error that says how it ended. */
const keptLines = 20;

/** The last event of a process that threw. */
interface Failed {
  type: 'failed';
  failure: Failure;
}

/** Returns the error of a process that reports, in this message, why it ends; null for any other message. */
export function reportedError(message: unknown): Error | null {
  const { type, failure } = message as Partial<Failed>;
  return type === 'failed' ? errorFrom(failureSchema.parse(failure)) : null;
}

/** Limits of a process while it computes. */
export interface Bounds {
  /** Bytes of memory, its children's included and mapped files left out; null for no bound. */
  memory: number | null;
  /** Seconds for which its event loop may be busy without a pause; null for no bound. */
  seconds: number | null;
}

/** ms between two looks at what a bounded process uses. */
const lookInterval = 200;

/** The parent's side. @typeParam Command what the process understands; anything that a structured clone can hold */
export class ForkedProcess<Command extends object> {
  /** Resolves when the process is gone, however it ended, after `ended` was called. */
  readonly gone: Promise<void>;
  readonly #child: ChildProcess;
  #outputTail: string[] = [];
  #exceeded: string | null = null;
  #answered = false;

  /**
   * @param program URL of its module
   * @param receive called with each message of the process
   * @param ended called once, when it is gone, with how it ended and the end of its output
   * @param environment added to what every child process gets
   */
  constructor(
    program: URL,
    receive: (message: unknown) => void,
    ended: (how: string) => void,
    environment: Record<string, string> = {},
  ) {
    this.#child = fork(fileURLToPath(program), [], {
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      execArgv: [],
      env: { ...childEnvironment(), ...environment },
    });
    this.#child.on('message', (message) => {
      if (isShell(message, 'pong')) this.#answered = true;
      else receive(message);
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => this.appendOutputTail(text));
    this.gone = new Promise<string>((resolve) => {
      // 'close' comes after all output was read; 'error' when there never was a process.
      this.#child.on('close', (code, signal) =>
        resolve(this.#exceeded ?? (signal === null ? `exit code ${code}` : `killed by ${signal}`)),
      );
      this.#child.on('error', (error) => resolve(error.message));
    }).then((how) => {
      const tail =
        this.#outputTail.length === 0 ? '' : `; its output ends with:\n${this.#outputTail.join('\n')}`;
      ended(`${how}${tail}`);
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Bytes of memory of the process and its children, mapped files left out; null when that cannot be known. */
  get memory(): number | null {
    return privateMemory(this.pid);
  }

  send(command: Command): void {
    this.#post(command);
  }

  /** Gives the process credentials, which replace those it was given before: variables of its environment from now on. */
  grant(variables: Record<string, string>): void {
    this.#post({ shell: 'grant', variables });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Kills the process as soon as it exceeds the bounds. Returns a function that lifts them. */
  bound({ memory, seconds }: Bounds): () => void {
    let [lookedAt, asked, busy] = [Date.now(), false, 0];
    this.#answered = false;
    const timer = setInterval(() => {
      // A parent that was itself held up has not looked meanwhile, and proves nothing.
      const elapsed = Math.min(Date.now() - lookedAt, 2 * lookInterval);
      lookedAt = Date.now();
      if (memory !== null && (this.memory ?? 0) > memory)
        this.#exceed(`used more than ${gigabytes(memory)} of memory`);
      if (seconds === null) return;
      busy = asked && !this.#answered ? busy + elapsed : 0;
      if (busy > seconds * 1000) this.#exceed(`computed for more than ${seconds} s without a pause`);
      if (asked && !this.#answered) return;
      [asked, this.#answered] = [true, false];
      this.#post({ shell: 'ping' });
    }, lookInterval);
    timer.unref();
    return () => clearInterval(timer);
  }

  /** Treats a text as if the process had printed it. */
  appendOutputTail(text: string): void {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    this.#outputTail = [...this.#outputTail, ...lines].slice(-keptLines);
  }

  #exceed(how: string): void {
    this.#exceeded ??= how;
    this.kill();
  }

  #post(message: object): void {
    // A channel that is closed already ends in 'close', which ends whatever waits.
    if (this.#child.connected) this.#child.send(message, () => {});
  }
}

/** A process that is asked one thing at a time. */
export class Conversation<Command extends object, Event extends object> {
  readonly process: ForkedProcess<Command>;
  readonly #onEnd: () => void;
  #ended: Error | null = null;
  #request: { take(event: Event): boolean; resolve(): void; reject(error: Error): void } | null = null;

  /**
   * @param program URL of its module
   * @param parse checks an event of the process
   * @param lost the error for a process that ended without saying why
   * @param onEnd called once, before the request under way is rejected
   */
  constructor(
    program: URL,
    parse: (message: unknown) => Event,
    lost: (how: string) => Error,
    onEnd: () => void = () => {},
  ) {
    this.#onEnd = onEnd;
    this.process = new ForkedProcess(
      program,
      (message) => this.#receive(message, parse),
      (how) => this.#end(lost(how)),
    );
  }

  /**
   * Sends a command, and passes each event on until `take` returns true.
   * @throws the error that the process failed with, or `lost`
   */
  request(command: Command, take: (event: Event) => boolean): Promise<void> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#request = { take, resolve, reject };
      this.process.send(command);
    });
  }

  async kill(): Promise<void> {
    this.process.kill();
    await this.process.gone;
  }

  #receive(message: unknown, parse: (message: unknown) => Event): void {
    const reported = reportedError(message);
    if (reported !== null) {
      this.#end(reported);
      return;
    }
    try {
      if (this.#request?.take(parse(message)) !== true) return;
    } catch (error) {
      // The process would continue with work whose result nobody takes.
      this.process.kill();
      this.#end(error as Error);
      return;
    }
    const { resolve } = this.#request;
    this.#request = null;
    resolve();
  }

  /** Ends the exchange. The first reason counts: a process that reported why it fails is not lost when it ends. */
  #end(error: Error): void {
    if (this.#ended === null) this.#onEnd();
    this.#ended ??= error;
    const request = this.#request;
    this.#request = null;
    request?.reject(this.#ended);
  }
}

/**
 * Serves a child's side: loads the installation, then passes each message on. An error that `handle` throws, or that
 * nobody catches, is reported to the parent and ends the process, because what native code holds is no longer to be
 * trusted. Signals to the process group are left to the parent, and the child ends with it, whatever it is doing.
 *
 * @param ready called when the installation is loaded, to load what most commands need while nobody waits for it
 */
export function serve(
  handle: (message: unknown) => unknown,
  ready: () => Promise<unknown> = async () => {},
): void {
  endWithParent();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR2', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  offerAsVictim();
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  const installed = loadInstallation();
  // What an operator's file throws is reported with the first command, so that its sender can report it.
  installed.catch(() => undefined);
  let granted: string[] = [];
  process.on('message', (message) => {
    if (isShell(message, 'ping')) {
      emit({ shell: 'pong' });
    } else if (isShell(message, 'grant')) {
      for (const name of granted) delete process.env[name];
      const { variables } = message as { variables: Record<string, string> };
      Object.assign(process.env, variables);
      granted = Object.keys(variables);
    } else {
      installed.then(() => handle(message)).catch(fail);
    }
  });
  installed.then(ready).catch(() => undefined);
}

/** Sends an event to the parent. */
export function emit(event: object): void {
  process.send?.(event);
}

/** Sends the last event of a process that ends with an error, and ends it. */
function fail(error: unknown): void {
  const event: Failed = { type: 'failed', failure: encodeFailure(error) };
  process.send?.(event, () => process.exit(1));
}

/** Has the kernel, when memory runs out, end this process rather than the worker that serves other runs too. */
function offerAsVictim(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '500');
  } catch {
    // Not Linux, or not allowed here.
  }
}

const isShell = (message: unknown, kind: string): boolean =>
  typeof message === 'object' && message !== null && (message as { shell?: unknown }).shell === kind;

/** Returns the bytes of memory that a process and its children have for themselves; null when that cannot be known. */
function privateMemory(pid: number | undefined): number | null {
  try {
    const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    if (kilobytes === undefined) return null;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    // A child that has ended meanwhile has none.
    const ofChildren = children.map((child) => privateMemory(Number(child)) ?? 0);
    return ofChildren.reduce((sum, bytes) => sum + bytes, Number(kilobytes) * 1024);
  } catch {
    return null;
  }
}

const gigabytes = (bytes: number) => formatGigabytes(bytes, 1);
