import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

const program = path.resolve('dist/tests/durability/support/prepare_child.js');
const documents = 30_000;

/** Prepares data in a process that kills itself at progress report `killAt`; resolves to whether it finished. */
function prepareInChild(cache: string, killAt: number | null): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, cache, String(documents), String(killAt)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString();
    });
    child.on('error', reject);
    child.on('close', () => resolve(output.includes('done')));
  });
}

async function readPackFiles(cache: string): Promise<Buffer> {
  const [digest] = await readdir(cache);
  const names = (await readdir(path.join(cache, digest!))).filter((name) => name.endsWith('.packs')).sort();
  return Buffer.concat(await Promise.all(names.map((name) => readFile(path.join(cache, digest!, name)))));
}

test('a preparation killed three times resumes, and ends with the same bytes', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'temper-kill-'));
  try {
    const [undisturbed, disturbed] = [path.join(folder, 'a'), path.join(folder, 'b')];
    expect(await prepareInChild(undisturbed, null)).toBe(true);
    // After the first chunk, after some more, and while the last chunks are packed.
    for (const killAt of [2, 3, 5]) expect(await prepareInChild(disturbed, killAt)).toBe(false);
    expect((await readdir(disturbed)).every((name) => name.endsWith('.work'))).toBe(true);
    expect(await prepareInChild(disturbed, null)).toBe(true);
    expect(await readdir(disturbed)).toHaveLength(1);
    expect((await readPackFiles(disturbed)).equals(await readPackFiles(undisturbed))).toBe(true);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 60_000);
