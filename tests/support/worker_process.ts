/** A worker in a process of its own, to be killed: `node worker_process.js <role> <address>` prints `ready <queue>`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onStopSignal, runWorker } from '../../workers/index.js';

export type Role = 'all' | 'control' | 'host';

export class TestWorker {
  readonly exited: Promise<number | null>;

  private constructor(
    readonly child: ChildProcess,
    /** The host worker's queue; `null` in the control role. */
    readonly queue: string,
  ) {
    this.exited = new Promise((resolve) => {
      child.on('exit', (code) => resolve(code));
    });
  }

  /** Starts it, by `wrapper` if any, and resolves when it serves. Its output goes to `log`. */
  static async start(
    role: Role,
    address: string,
    log: string,
    environment: Record<string, string> = {},
    wrapper: readonly string[] = [],
  ): Promise<TestWorker> {
    const worker = [process.execPath, fileURLToPath(import.meta.url), role, address];
    const [program, ...parameters] = [...wrapper, ...worker];
    const child = spawn(program!, parameters, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    const queue = await new Promise<string>((resolve, reject) => {
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        appendFileSync(log, chunk);
        text += chunk;
        const ready = /^ready (\S+)$/m.exec(text);
        if (ready !== null) resolve(ready[1]!);
      });
      child.stderr.setEncoding('utf8').on('data', (chunk: string) => appendFileSync(log, chunk));
      child.on('exit', (code, signal) =>
        reject(new Error(`the worker ended (${code ?? signal}); log: ${log}`)),
      );
    });
    return new TestWorker(child, queue);
  }

  /** Kills the worker with SIGKILL, and waits for the exit. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** Sends SIGTERM, and waits for the exit. */
  async stop(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGTERM');
    return await this.exited;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [role, address] = process.argv.slice(2) as [Role, string];
  const log = (text: string) => process.stderr.write(`${text}\n`);
  const worker = await runWorker({
    role,
    devices: process.env.TEMPER_TEST_DEVICES || 'auto',
    pool: null,
    taskQueue: null,
    address,
    log,
  });
  onStopSignal(() => {
    void worker.stop().then(() => process.exit(0));
  });
  process.stdout.write(`ready ${worker.queue}\n`);
}
