/** Finds, starts and probes a Temporal development server. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import path from 'node:path';
import { Connection } from '@temporalio/client';
import { searchAttributeTypes } from '../../contracts/index.js';
import { ServiceUnavailable } from '../../shared/errors.js';

export interface ServerOptions {
  /** gRPC port. */
  port: number;
  /** Port of the web UI; null for none. */
  uiPort: number | null;
  /** Database file, kept; null for one in memory. */
  database: string | null;
  /** File that its output is appended to. */
  log: string;
  /** The server outlives this process. */
  detached: boolean;
  /** `key=value` pairs, e.g. `limit.historyCount.suggestContinueAsNew=50`. */
  dynamicConfig?: readonly string[];
}

/** ms within which a server must answer; a slow disk takes its time to make the database. */
const startLimit = 60_000;

/**
 * Returns the path of the Temporal CLI: TEMPORAL_CLI, else on PATH, else the one that set-up cached.
 * @throws ServiceUnavailable when there is none
 */
export function findTemporalCli(environment: NodeJS.ProcessEnv = process.env): string {
  const configured = environment.TEMPORAL_CLI;
  if (configured) {
    if (isExecutable(configured)) return configured;
    throw new ServiceUnavailable(`TEMPORAL_CLI names ${configured}, which is not an executable file`);
  }
  const cache = environment.TEMPER_CACHE || path.join(homedir(), '.cache', 'temper');
  const folders = [
    ...(environment.PATH ?? '').split(path.delimiter).filter(Boolean),
    path.join(cache, 'bin'),
  ];
  const executable = folders.map((folder) => path.join(folder, 'temporal')).find(isExecutable);
  if (executable !== undefined) return executable;
  throw new ServiceUnavailable(
    "the Temporal CLI is not installed: run 'npm run setup', put 'temporal' on PATH, or set TEMPORAL_CLI to its path; " +
      'or set TEMPORAL_ADDRESS to use a server that is already running',
  );
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Starts a server and returns when it answers.
 * @throws ServiceUnavailable when the port is taken, or the server ends or stays silent; with the end of its log
 */
export async function startServer(options: ServerOptions): Promise<ChildProcess> {
  const cli = findTemporalCli();
  await assertFree(options.port);
  const log = openSync(options.log, 'a');
  const child = spawn(cli, serverArguments(options), {
    stdio: ['ignore', log, log],
    detached: options.detached,
    env: serverEnvironment(process.env),
  });
  closeSync(log);
  let ended: string | null = null;
  child.on('error', (error) => {
    ended = error.message;
  });
  child.on('exit', (code, signal) => {
    ended = signal === null ? `exit code ${code}` : `killed by ${signal}`;
  });
  for (const deadline = Date.now() + startLimit; ; await pause(50)) {
    if (await answers(`127.0.0.1:${options.port}`)) break;
    if (ended !== null || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new ServiceUnavailable(
        `the Temporal server did not start (${ended ?? 'no response within a minute'}): ${lastLines(options.log)} (log: ${options.log})`,
      );
    }
  }
  if (options.detached) child.unref();
  return child;
}

/** Environment variables that the server may need; credentials are not among them. */
const passedVariables =
  /^(PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TZ|LANG|LC_\w+|GOMAXPROCS|GOMEMLIMIT|LD_LIBRARY_PATH)$/;

function serverEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => passedVariables.test(name)));
}

function serverArguments({ port, uiPort, database, dynamicConfig = [] }: ServerOptions): string[] {
  const types = { KEYWORD: 'Keyword', INT: 'Int', DOUBLE: 'Double' } as const;
  return [
    ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--log-level', 'warn'],
    ...(uiPort === null ? ['--headless'] : ['--ui-port', String(uiPort)]),
    ...(database === null ? [] : ['--db-filename', database]),
    ...Object.entries(searchAttributeTypes).flatMap(([name, type]) => [
      '--search-attribute',
      `${name}=${types[type]}`,
    ]),
    ...dynamicConfig.flatMap((pair) => ['--dynamic-config-value', pair]),
  ];
}

/** Returns whether a Temporal server with its default namespace answers at the address. */
export async function answers(address: string): Promise<boolean> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: 1000 });
    try {
      await connection.withDeadline(Date.now() + 1000, () =>
        connection.workflowService.describeNamespace({ namespace: 'default' }),
      );
      return true;
    } finally {
      await connection.close();
    }
  } catch {
    return false;
  }
}

/** Returns a port of the loopback interface that is free now. */
export async function freePort(): Promise<number> {
  const server = await listen(0);
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function assertFree(port: number): Promise<void> {
  try {
    const server = await listen(port);
    await new Promise((resolve) => server.close(resolve));
  } catch (cause) {
    throw new ServiceUnavailable(
      `port ${port} is in use by another program: choose another port, or stop that program`,
      {
        cause,
      },
    );
  }
}

function listen(port: number) {
  const server = createServer();
  return new Promise<typeof server>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

function lastLines(file: string): string {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-3).join(' | ');
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
