/**
 * The embedded Temporal server: one per user, shared by every run that needs it, its database kept. Its state folder
 * holds the database, its log, `server.json` (who it is) and a file for each process that uses it. The last user stops
 * it; users that were killed are recognised as dead and do not count.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { ServiceUnavailable } from '../../shared/errors.js';
import { identifyProcess, isProvenDead, processIdentitySchema } from '../../shared/process_identity.js';
import { answers, freePort, startServer } from './server_process.js';

const serverFileSchema = z.strictObject({
  process: processIdentitySchema,
  port: z.int(),
  uiPort: z.int().nullable(),
});
type ServerFile = z.infer<typeof serverFileSchema>;

export interface DevServer {
  address: string;
  namespace: string;
  /** Address of the web UI. */
  ui: string | null;
  /** Whether this call started the server. */
  started: boolean;
  /** Says that this process needs it no longer; the last one stops it. Safe to call again. */
  release(): Promise<void>;
}

/**
 * Queues in one part each: with the default of four, a task that comes before its worker waits up to two seconds in a part
 * that the worker does not poll first.
 */
const oneUser = ['matching.numTaskqueueReadPartitions=1', 'matching.numTaskqueueWritePartitions=1'];

/** ms between looks at a lock that somebody holds. */
const lockPause = 50;

/**
 * Starts the user's server, or joins it.
 * @param folder state folder, e.g. `~/.cache/temper/server`
 * @throws ServiceUnavailable when the CLI is missing or the server does not start
 */
export async function useDevServer(folder: string): Promise<DevServer> {
  await mkdir(path.join(folder, 'users'), { recursive: true });
  return await locked(folder, async () => {
    const running = await findRunning(folder);
    const server = running ?? (await start(folder));
    const user = path.join(folder, 'users', `${randomUUID()}.json`);
    await writeFile(user, JSON.stringify(identifyProcess()));
    let released: Promise<void> | null = null;
    return {
      address: `127.0.0.1:${server.port}`,
      namespace: 'default',
      ui: server.uiPort === null ? null : `http://127.0.0.1:${server.uiPort}`,
      started: running === null,
      release() {
        released ??= leave(folder, user);
        return released;
      },
    };
  });
}

async function start(folder: string): Promise<ServerFile> {
  const [port, uiPort] = [await freePort(), await freePort()];
  const child = await startServer({
    dynamicConfig: oneUser,
    port,
    uiPort,
    database: path.join(folder, 'temporal.db'),
    log: path.join(folder, 'server.log'),
    // In a session of its own: Ctrl-C in the terminal is for the run, not for the server.
    detached: true,
  });
  const identity = identifyProcess(child.pid);
  if (identity === null)
    throw new ServiceUnavailable(`the Temporal server ended at once (log: ${folder}/server.log)`);
  const file: ServerFile = { process: identity, port, uiPort };
  await writeFile(path.join(folder, 'server.json'), JSON.stringify(file));
  return file;
}

/** The server that `server.json` names, when it lives and answers. One that lives but is silent is ended first. */
async function findRunning(folder: string): Promise<ServerFile | null> {
  const server = await readServerFile(folder);
  if (server === null || isProvenDead(server.process)) return null;
  for (let attempt = 0; attempt < 10; attempt += 1) {
    if (await answers(`127.0.0.1:${server.port}`)) return server;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await end(server);
  return null;
}

async function leave(folder: string, user: string): Promise<void> {
  await locked(folder, async () => {
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
    const user = processIdentitySchema.safeParse(await readJson(file));
    if (user.success && !isProvenDead(user.data)) return true;
    await rm(file, { force: true });
  }
  return false;
}

/** Asks the server to end, and insists after ten seconds. */
async function end({ process: identity }: ServerFile): Promise<void> {
  for (const deadline = Date.now() + 10_000; !isProvenDead(identity); ) {
    process.kill(identity.pid, Date.now() < deadline ? 'SIGTERM' : 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function readServerFile(folder: string): Promise<ServerFile | null> {
  const parsed = serverFileSchema.safeParse(await readJson(path.join(folder, 'server.json')));
  return parsed.success ? parsed.data : null;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return null;
  }
}

/** Runs alone among all processes of the user. A lock whose holder is dead is taken over. */
async function locked<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const file = path.join(folder, 'lock');
  const mine = `${file}.${randomUUID()}`;
  await writeFile(mine, JSON.stringify(identifyProcess()));
  try {
    // A link appears with its content, so that no lock is ever seen whose holder is not known.
    while (!(await unlessCode('EEXIST', link(mine, file)))) {
      if (await isAbandoned(file)) await takeAway(file, `${mine}.dead`);
      else await new Promise((resolve) => setTimeout(resolve, lockPause));
    }
    try {
      return await work();
    } finally {
      await rm(file, { force: true });
    }
  } finally {
    await rm(mine, { force: true });
  }
}

async function isAbandoned(lock: string): Promise<boolean> {
  const holder = processIdentitySchema.safeParse(await readJson(lock));
  return holder.success && isProvenDead(holder.data);
}

/** Removes a dead holder's lock, and puts it back when somebody living took it in the meantime. */
async function takeAway(lock: string, aside: string): Promise<void> {
  if (!(await unlessCode('ENOENT', rename(lock, aside)))) return;
  if (!(await isAbandoned(aside))) await unlessCode('EEXIST', link(aside, lock));
  await rm(aside, { force: true });
}

/** Whether the change was made; false for the error that somebody else's doing explains. */
async function unlessCode(code: string, change: Promise<void>): Promise<boolean> {
  try {
    await change;
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === code) return false;
    throw error;
  }
}
