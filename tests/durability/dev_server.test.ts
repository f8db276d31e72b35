/** The embedded server, with real processes that use it, share it and are killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { type DevServer, useDevServer } from '../../infra/temporal/dev_server.js';
import { answers, startServer } from '../../infra/temporal/server_process.js';
import { ServiceUnavailable } from '../../shared/errors.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-dev-server-'));
});
afterEach(async () => rm(folder, { recursive: true, force: true }));

const address = (server: DevServer) => server.address;

/** Another process that uses the server until it is killed. */
async function otherUser(): Promise<{ child: ChildProcess; address: string }> {
  const module = fileURLToPath(new URL('../../infra/temporal/dev_server.js', import.meta.url));
  const code = `const { useDevServer } = await import(${JSON.stringify(module)});
    const server = await useDevServer(${JSON.stringify(folder)});
    console.log(server.address);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await new Promise<string>((resolve) => child.stdout.setEncoding('utf8').once('data', resolve));
  return { child, address: line.trim() };
}

test('processes share one server, and the last one stops it', async () => {
  const [mine, other] = await Promise.all([useDevServer(folder), otherUser()]);
  expect(other.address).toBe(address(mine));
  await mine.release();
  expect(await answers(other.address)).toBe(true);
  // Killed, the other one cannot release it; the next user does not count it.
  other.child.kill('SIGKILL');
  await new Promise((resolve) => other.child.once('exit', resolve));
  const next = await useDevServer(folder);
  expect(next).toMatchObject({ address: other.address, started: false });
  await next.release();
  expect(await answers(other.address)).toBe(false);
}, 60_000);

test('the database is kept', async () => {
  const first = await useDevServer(folder);
  const connection = await Connection.connect({ address: first.address });
  await new Client({ connection }).workflow.start('nobody', { taskQueue: 'q', workflowId: 'kept' });
  await connection.close();
  await first.release();
  const second = await useDevServer(folder);
  expect(second.started).toBe(true);
  const again = await Connection.connect({ address: second.address });
  const { status } = await new Client({ connection: again }).workflow.getHandle('kept').describe();
  expect(status.name).toBe('RUNNING');
  await again.close();
  await second.release();
}, 60_000);

test('a server that was killed is replaced', async () => {
  const first = await useDevServer(folder);
  const { process: server } = JSON.parse(await readFile(path.join(folder, 'server.json'), 'utf8'));
  process.kill(server.pid, 'SIGKILL');
  const second = await useDevServer(folder);
  expect(second.started).toBe(true);
  expect(await answers(second.address)).toBe(true);
  await Promise.all([first.release(), second.release()]);
}, 60_000);

test('a port in use is named', async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as { port: number };
  const log = path.join(folder, 'log');
  const started = startServer({ port, uiPort: null, database: null, log, detached: false });
  await expect(started).rejects.toThrow(ServiceUnavailable);
  await expect(started).rejects.toThrow(`port ${port} is in use`);
  taken.close();
});
