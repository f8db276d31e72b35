/** The embedded server, with real processes that use it, share it and are killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { ServiceUnavailable } from '../../shared/errors.js';
import { identifyProcess } from '../../shared/process_identity.js';
import { useDevServer } from '../../workers/embedded_server/dev_server.js';
import { answers, startServer } from '../../workers/embedded_server/server_process.js';
import { until } from '../support/until.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-dev-server-'));
});
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  // A failed test may have left its server running.
  const pid = await serverPid().catch(() => null);
  if (pid !== null && identifyProcess(pid) !== null) process.kill(pid, 'SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

const notices: string[] = [];
const log = (text: string) => void notices.push(text);

/** Starts another process that uses the server until it is killed. */
async function startOtherUser(
  environment: Record<string, string> = {},
): Promise<{ child: ChildProcess; address: string }> {
  const module = fileURLToPath(new URL('../../workers/embedded_server/dev_server.js', import.meta.url));
  const code = `const { useDevServer } = await import(${JSON.stringify(module)});
    const server = await useDevServer(${JSON.stringify(folder)}, console.error);
    console.log(server.address);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  });
  children.push(child);
  const line = await new Promise<string>((resolve) => child.stdout.setEncoding('utf8').once('data', resolve));
  return { child, address: line.trim() };
}

test('processes share one server, and the last one stops it', async () => {
  const [server, other] = await Promise.all([useDevServer(folder, log), startOtherUser()]);
  expect(other.address).toBe(server.address);
  await server.release();
  expect(await answers(other.address)).toBe(true);
  // A killed user cannot release the server; the next one does not count it.
  other.child.kill('SIGKILL');
  await new Promise((resolve) => other.child.once('exit', resolve));
  const nextServer = await useDevServer(folder, log);
  expect(nextServer).toMatchObject({ address: other.address, started: false });
  await nextServer.release();
  expect(await answers(other.address)).toBe(false);
}, 60_000);

test('a server that is started again still has its workflows', async () => {
  const firstServer = await useDevServer(folder, log);
  const connection = await Connection.connect({ address: firstServer.address });
  await new Client({ connection }).workflow.start('nobody', { taskQueue: 'q', workflowId: 'kept' });
  await connection.close();
  await firstServer.release();
  const secondServer = await useDevServer(folder, log);
  expect(secondServer.started).toBe(true);
  const reconnected = await Connection.connect({ address: secondServer.address });
  const { status } = await new Client({ connection: reconnected }).workflow.getHandle('kept').describe();
  expect(status.name).toBe('RUNNING');
  await reconnected.close();
  await secondServer.release();
}, 60_000);

async function serverPid(): Promise<number> {
  const { process: server } = JSON.parse(await readFile(path.join(folder, 'server.json'), 'utf8'));
  return server.pid;
}

/** Kills the server; returns the id of the process that it was. */
async function killServer(): Promise<number> {
  const pid = await serverPid();
  process.kill(pid, 'SIGKILL');
  await until('the server to end', () => identifyProcess(pid) === null);
  return pid;
}

test('a server that was killed is started again by its users, on the same port and once', async () => {
  const firstServer = await useDevServer(folder, log);
  const other = await startOtherUser();
  const killed = await killServer();
  // It answers a moment before its file names it.
  await until('another server', async () => (await serverPid()) !== killed);
  expect(await answers(firstServer.address)).toBe(true);
  expect(other.address).toBe(firstServer.address);
  const pid = await serverPid();
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(await serverPid()).toBe(pid);
  other.child.kill('SIGKILL');
  await new Promise((resolve) => other.child.once('exit', resolve));
  await firstServer.release();
}, 60_000);

test('a user that comes after the server was killed gets one on the same port', async () => {
  const firstServer = await useDevServer(folder, log);
  await killServer();
  const secondServer = await useDevServer(folder, log);
  expect(secondServer.address).toBe(firstServer.address);
  expect(await answers(secondServer.address)).toBe(true);
  await Promise.all([firstServer.release(), secondServer.release()]);
}, 60_000);

test('the server gets none of the secrets of the process that starts it', async () => {
  await startOtherUser({ AWS_SECRET_ACCESS_KEY: 'SENTINEL' });
  const environment = await readFile(`/proc/${await serverPid()}/environ`, 'utf8');
  expect(environment).toContain('PATH=');
  expect(environment).not.toContain('SENTINEL');
}, 60_000);

test('a server in use on another host is named, and neither joined nor killed', async () => {
  const server = await useDevServer(folder, log);
  const file = path.join(folder, 'server.json');
  const serverFile = JSON.parse(await readFile(file, 'utf8'));
  const otherIdentity = { ...serverFile.process, boot: 'another', host: 'node-17' };
  await writeFile(file, JSON.stringify({ ...serverFile, process: otherIdentity }));
  await expect(useDevServer(folder, log)).rejects.toThrow(
    `process ${otherIdentity.pid} on node-17) is in use`,
  );
  expect(await answers(server.address)).toBe(true);
  await writeFile(file, JSON.stringify(serverFile));
  await server.release();
}, 60_000);

test('a server does not start on a port in use, and the error names the port', async () => {
  const otherServer = createServer();
  await new Promise<void>((resolve) => otherServer.listen(0, '127.0.0.1', resolve));
  const { port } = otherServer.address() as { port: number };
  const log = path.join(folder, 'log');
  const start = startServer({ port, uiPort: null, database: null, log, detached: false });
  await expect(start).rejects.toThrow(ServiceUnavailable);
  await expect(start).rejects.toThrow(`port ${port} is in use`);
  otherServer.close();
});
