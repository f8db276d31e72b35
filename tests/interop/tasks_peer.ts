/** tasks_peer.py, started for one job. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { installPeer, root } from './peer.js';

export async function askTasksPeer<Answer>(job: object): Promise<Answer> {
  const child = spawn(
    installPeer('install.sh'),
    ['-W', 'ignore', path.join(root, 'tests/interop/tasks_peer.py')],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, HF_HUB_OFFLINE: '1', TQDM_DISABLE: '1' },
    },
  );
  child.stdin.end(JSON.stringify(job));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`tasks_peer.py exited with ${code}`);
  return JSON.parse(text) as Answer;
}
