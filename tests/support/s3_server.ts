import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort } from '../../workers/embedded_server/server_process.js';

const version = 'v1.8.0';

export interface S3Server {
  /** The standard AWS variables with which a process reaches it. */
  env: Record<string, string>;
  /** Buckets are folders of this one. */
  folder: string;
  /** Kills the server and removes its files. */
  stop(): Promise<void>;
}

/** Starts versitygw on a free port over a temporary folder, with the buckets named. */
export async function startS3Server(buckets: readonly string[]): Promise<S3Server> {
  const folder = mkdtempSync(path.join(tmpdir(), 'temper-s3-'));
  for (const bucket of buckets) mkdirSync(path.join(folder, bucket));
  const port = await freePort();
  const credentials = { access: 'temper-test', secret: 'temper-test-secret' };
  const server = spawn(
    findServer(),
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
  let errorOutput = '';
  server.stderr.on('data', (chunk) => {
    errorOutput += String(chunk);
  });
  const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const endpoint = `http://127.0.0.1:${port}`;
  for (let attempt = 0; !(await answers(endpoint)); attempt += 1) {
    if (server.exitCode !== null || attempt === 200)
      throw new Error(`versitygw did not start: ${errorOutput}`);
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

/** Returns the path of versitygw, and installs it if it is missing. */
function findServer(): string {
  const bin = process.env.TEMPER_BIN ?? path.join(process.env.HOME ?? '', '.cache/temper/bin');
  const file = path.join(bin, `versitygw-${version}`);
  if (!existsSync(file)) execFileSync('bash', ['infra/object_store/install.sh'], { stdio: 'inherit' });
  return file;
}

async function answers(endpoint: string): Promise<boolean> {
  return fetch(endpoint).then(
    () => true,
    () => false,
  );
}
