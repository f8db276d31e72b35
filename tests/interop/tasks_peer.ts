/** tasks_peer.py: one job, one answer. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../../..');

export async function askTasksPeer<Answer>(job: object): Promise<Answer> {
  const interpreter = execFileSync('bash', [path.join(root, 'infra/peers/install.sh')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const child = spawn(interpreter, ['-W', 'ignore', path.join(root, 'tests/interop/tasks_peer.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, HF_HUB_OFFLINE: '1', TQDM_DISABLE: '1' },
  });
  child.stdin.end(JSON.stringify(job));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`tasks_peer.py ended with ${code}`);
  return JSON.parse(text) as Answer;
}
