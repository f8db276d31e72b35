/** Processes that are forked to hold native code for their parent: the parent's side, and the child's. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { endWithParent } from './parent_death.js';

/** Lines of a process's last words that are kept. */
const keptLines = 20;

/** The parent's side. @typeParam Command what the process understands; anything that a structured clone can hold */
export class ForkedProcess<Command extends object> {
  /** Resolves when the process is gone, however it went, after `ended` was called. */
  readonly gone: Promise<void>;
  private readonly child: ChildProcess;
  private lastWords: string[] = [];

  /**
   * @param program URL of its module
   * @param hear called with each message of the process
   * @param ended called once, when it is gone, with how it went and its last words
   * @param environment added to this process's own
   */
  constructor(
    program: URL,
    hear: (message: unknown) => void,
    ended: (how: string) => void,
    environment: Record<string, string> = {},
  ) {
    this.child = fork(fileURLToPath(program), [], {
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      execArgv: [],
      env: { ...process.env, ...environment },
    });
    this.child.on('message', hear);
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => this.keep(text));
    this.gone = new Promise<string>((resolve) => {
      // 'close' comes after the last words were read; 'error' when there never was a process.
      this.child.on('close', (code, signal) =>
        resolve(signal === null ? `exit code ${code}` : `killed by ${signal}`),
      );
      this.child.on('error', (error) => resolve(error.message));
    }).then((how) => {
      const words = this.lastWords.length === 0 ? '' : `; its last words:\n${this.lastWords.join('\n')}`;
      ended(`${how}${words}`);
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  send(command: Command): void {
    // A channel that is closed already ends in 'close', which tells whoever waits.
    if (this.child.connected) this.child.send(command, () => {});
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** Takes a text among the last words, as if the process had printed it. */
  keep(text: string): void {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    this.lastWords = [...this.lastWords, ...lines].slice(-keptLines);
  }
}

/**
 * The child's side: leaves signals to the parent, who decides what one to the process group means, and ends with it, at
 * once and whatever is being done.
 */
export function liveForParent(): void {
  endWithParent();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR2', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
}
