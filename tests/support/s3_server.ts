import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

const version = 'v1.8.0';

export interface S3Server {
  /** The standard AWS variables with which a process reaches it. */
  env: Record<string, string>;
  /** Buckets are folders of this one. */
  folder: string;
  /** Kills the server and removes its files. */
  stop(): Promise<void>;
}

/** Starts versitygw on a free port over a temporary folder, with the buckets named; installs it where it is missing. */
export async function startS3Server(buckets: readonly string[]): Promise<S3Server> {
  const folder = mkdtempSync(path.join(tmpdir(), 'temper-s3-'));
  for (const bucket of buckets) mkdirSync(path.join(folder, bucket));
  const port = await freePort();
  const credentials = { access: 'temper-test', secret: 'temper-test-secret' };
  const server = spawn(
    installed(),
    [
      '--quiet',
      '--port',
      `127.0.0.1:${port}`,
      '--access',
      credentials.access,
      '--secret',
      credentials.secret,
      'posix',
      folder,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let complaint = '';
  server.stderr.on('data', (chunk) => {
    complaint += String(chunk);
  });
  const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const endpoint = `http://127.0.0.1:${port}`;
  for (let attempt = 0; !(await answers(endpoint)); attempt += 1) {
    if (server.exitCode !== null || attempt === 200) throw new Error(`versitygw did not start: ${complaint}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    env: {
      AWS_ENDPOINT_URL_S3: endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: credentials.access,
      AWS_SECRET_ACCESS_KEY: credentials.secret,
    },
    folder,
    async stop() {
      server.kill('SIGKILL');
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function installed(): string {
  const bin = process.env.TEMPER_BIN ?? path.join(process.env.HOME ?? '', '.cache/temper/bin');
  const file = path.join(bin, `versitygw-${version}`);
  if (!existsSync(file)) execFileSync('bash', ['infra/object_store/install.sh'], { stdio: 'inherit' });
  return file;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

async function answers(endpoint: string): Promise<boolean> {
  return fetch(endpoint).then(
    () => true,
    () => false,
  );
}
