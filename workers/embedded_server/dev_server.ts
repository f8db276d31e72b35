/**
 * The embedded Temporal server: one per user, shared by every run that needs it, its database kept. Its state folder
 * holds the database, its log, `server.json` (who it is) and a file for each process that uses it. Each of these looks
 * after it: a server that was killed is started again on the same port. The last user stops it; users that were killed
 * do not count.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { ServiceUnavailable } from '../../shared/errors.js';
import { writeUnsynced } from '../../shared/files.js';
import { staleAfter, withLock } from '../../shared/folder_lock.js';
import {
  identifyProcess,
  ownIdentity,
  processIdentitySchema,
  processState,
} from '../../shared/process_identity.js';
import { answers, freePort, startServer } from './server_process.js';

const serverFileSchema = z.strictObject({
  process: processIdentitySchema,
  port: z.int(),
  uiPort: z.int().nullable(),
});
type ServerFile = z.infer<typeof serverFileSchema>;
type Ports = Pick<ServerFile, 'port' | 'uiPort'>;

/** Receives notices for the user who started the process. */
type Log = (text: string) => void;

export interface DevServer {
  address: string;
  namespace: string;
  /** Address of the web UI. */
  ui: string | null;
  /** True when this call started the server. */
  started: boolean;
  /** Ends this process's use of it; the last user stops it. Safe to call again. */
  release(): Promise<void>;
}

/**
 * Queues in one part each: with the default of four, a task that comes before its worker waits up to two seconds in a part
 * that the worker does not poll first.
 */
const oneUser = ['matching.numTaskqueueReadPartitions=1', 'matching.numTaskqueueWritePartitions=1'];

/** ms between checks that the server still runs. */
const checkInterval = 1_000;

/**
 * Starts the user's server, or joins it, and looks after it until it is released.
 * @param folder state folder, e.g. `~/.cache/temper/server`
 * @throws ServiceUnavailable when the CLI is missing, the server does not start, or it runs where it cannot be used from here
 */
export async function useDevServer(folder: string, log: Log): Promise<DevServer> {
  await mkdir(path.join(folder, 'users'), { recursive: true });
  return await locked(folder, log, async () => {
    const running = await findRunning(folder);
    const server = running ?? (await start(folder, await portsInUse(folder)));
    const user = path.join(folder, 'users', `${randomUUID()}.json`);
    await writeUnsynced(user, JSON.stringify(ownIdentity()));
    const keeper = new Keeper(folder, user, server, log);
    let released: Promise<void> | null = null;
    return {
      address: `127.0.0.1:${server.port}`,
      namespace: 'default',
      ui: server.uiPort === null ? null : `http://127.0.0.1:${server.uiPort}`,
      started: running === null,
      release() {
        released ??= keeper.close().then(() => leave(folder, user, log));
        return released;
      },
    };
  });
}

/** Starts the server again when it is gone, and shows other processes that this one still uses it. */
class Keeper {
  readonly #folder: string;
  readonly #user: string;
  readonly #log: Log;
  #server: ServerFile;
  #timer: NodeJS.Timeout | null = null;
  #check: Promise<void> = Promise.resolve();
  #lastFailure = '';

  constructor(folder: string, user: string, server: ServerFile, log: Log) {
    this.#folder = folder;
    this.#user = user;
    this.#server = server;
    this.#log = log;
    this.#schedule();
  }

  /** Ends the checks; one under way is waited for. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.#check;
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#check = this.#checkServer().catch((error: Error) => this.#report(error.message));
      void this.#check.then(() => {
        if (this.#timer !== null) this.#schedule();
      });
    }, checkInterval).unref();
  }

  async #checkServer(): Promise<void> {
    const now = new Date();
    await utimes(this.#user, now, now);
    if (processState(this.#server.process) !== 'gone') return;
    await locked(this.#folder, this.#log, async () => {
      const running = await findRunning(this.#folder);
      this.#server = running ?? (await start(this.#folder, this.#server));
      if (running === null) this.#log('the Temporal server had exited and was restarted');
    });
    this.#lastFailure = '';
  }

  #report(failure: string): void {
    if (failure !== this.#lastFailure) this.#log(`the Temporal server cannot be restarted: ${failure}`);
    this.#lastFailure = failure;
  }
}

/** Returns the ports of a server that has exited while users still expect it there; null otherwise. */
async function portsInUse(folder: string): Promise<Ports | null> {
  return (await hasUsers(folder)) ? await readServerFile(folder) : null;
}

/** @param ports null for any that are free */
async function start(folder: string, ports: Ports | null): Promise<ServerFile> {
  const { port, uiPort } = ports ?? { port: await freePort(), uiPort: await freePort() };
  const child = await startServer({
    dynamicConfig: oneUser,
    port,
    uiPort,
    database: path.join(folder, 'temporal.db'),
    log: path.join(folder, 'server.log'),
    // In a session of its own: Ctrl-C in the terminal is for the run, not for the server.
    detached: true,
  });
  const identity = identifyProcess(child.pid!);
  if (identity === null)
    throw new ServiceUnavailable(`the Temporal server exited immediately (log: ${folder}/server.log)`);
  const file: ServerFile = { process: identity, port, uiPort };
  await writeUnsynced(path.join(folder, 'server.json'), JSON.stringify(file));
  return file;
}

/**
 * Returns the server that `server.json` names, when it runs and answers. One that runs but is silent is stopped first.
 * @throws ServiceUnavailable for one on another host, or in another container, that is in use
 */
async function findRunning(folder: string): Promise<ServerFile | null> {
  const server = await readServerFile(folder);
  if (server === null) return null;
  const state = processState(server.process);
  if (state === 'gone') return null;
  // Its loopback address is ours only on the same machine.
  const isNear = server.process.boot === ownIdentity().boot;
  for (let attempt = 0; isNear && attempt < 10; attempt += 1) {
    if (await answers(`127.0.0.1:${server.port}`)) return server;
    if (processState(server.process) === 'gone') return null;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  if (state === 'alive') await end(server);
  else if (await hasUsers(folder)) {
    const { host, pid } = server.process;
    throw new ServiceUnavailable(
      `${folder}: its Temporal server (process ${pid} on ${host}) is in use and cannot be reached from here: ` +
        'set TEMPORAL_ADDRESS to a server that all hosts can reach, or TEMPER_CACHE to a folder on this host',
    );
  }
  return null;
}

async function leave(folder: string, user: string, log: Log): Promise<void> {
  await locked(folder, log, async () => {
    await rm(user, { force: true });
    if (await hasUsers(folder)) return;
    const server = await readServerFile(folder);
    if (server !== null) await end(server);
    await rm(path.join(folder, 'server.json'), { force: true });
  });
}

async function hasUsers(folder: string): Promise<boolean> {
  for (const name of await readdir(path.join(folder, 'users'))) {
    const file = path.join(folder, 'users', name);
    if (await isInUse(file)) return true;
    await rm(file, { force: true });
  }
  return false;
}

/** Returns whether a user still runs; one that cannot be judged from here counts while it keeps refreshing its file. */
async function isInUse(file: string): Promise<boolean> {
  const user = processIdentitySchema.safeParse(await readJson(file));
  if (!user.success) return false;
  const state = processState(user.data);
  if (state !== 'unknown') return state === 'alive';
  const modifiedAt = (await stat(file).catch(() => null))?.mtimeMs ?? 0;
  return Date.now() - modifiedAt < staleAfter;
}

/** Asks the server to end, and insists after ten seconds. */
async function end({ process: identity }: ServerFile): Promise<void> {
  for (const deadline = Date.now() + 10_000; processState(identity) === 'alive'; ) {
    process.kill(identity.pid, Date.now() < deadline ? 'SIGTERM' : 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Runs `work` while no other process of the user does. */
async function locked<T>(folder: string, log: Log, work: () => Promise<T>): Promise<T> {
  return withLock(path.join(folder, 'lock'), { signal: null, onWait: log, staleAfter }, work);
}

async function readServerFile(folder: string): Promise<ServerFile | null> {
  const serverFile = serverFileSchema.safeParse(await readJson(path.join(folder, 'server.json')));
  return serverFile.success ? serverFile.data : null;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return null;
  }
}
