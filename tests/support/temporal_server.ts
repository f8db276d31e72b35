/** A real Temporal server for a test: on a port and a database of its own, to be killed and started again. */
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort, startServer } from '../../workers/embedded_server/server_process.js';

export class TestServer {
  readonly #folder: string;
  readonly #dynamicConfig: readonly string[];
  #child: ChildProcess;

  private constructor(
    readonly port: number,
    folder: string,
    dynamicConfig: readonly string[],
    child: ChildProcess,
  ) {
    this.#folder = folder;
    this.#dynamicConfig = dynamicConfig;
    this.#child = child;
  }

  /** @param dynamicConfig `key=value` pairs of the server's dynamic configuration */
  static async start(dynamicConfig: readonly string[] = []): Promise<TestServer> {
    const folder = await mkdtemp(path.join(tmpdir(), 'temper-server-'));
    const port = await freePort();
    return new TestServer(port, folder, dynamicConfig, await TestServer.#launch(port, folder, dynamicConfig));
  }

  static #launch(port: number, folder: string, dynamicConfig: readonly string[]): Promise<ChildProcess> {
    const database = path.join(folder, 'temporal.db');
    const log = path.join(folder, 'server.log');
    return startServer({ port, uiPort: null, database, log, detached: false, dynamicConfig });
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Kills the server with SIGKILL; resolves when it has exited. */
  async kill(): Promise<void> {
    const exit = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await exit;
  }

  /** Starts it again on the same port and database. */
  async restart(): Promise<void> {
    this.#child = await TestServer.#launch(this.port, this.#folder, this.#dynamicConfig);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
