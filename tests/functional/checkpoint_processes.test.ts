import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { loadNewestSound, readLog } from '../../components/checkpoint/index.js';
import { openStorage } from '../../shared/storage/index.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { until } from '../support/until.js';

const root = temporaryFolder();
const writer = path.resolve('dist/tests/functional/support/log_writer.js');

interface Writer {
  child: ChildProcess;
  /** The lines that it has printed. */
  lines: Record<string, number>[];
  ended: Promise<void>;
}

function startWriter(folder: string, holder: string, rounds: number, elements: number): Writer {
  const child = spawn(process.execPath, [writer, folder, holder, String(rounds), String(elements)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const lines: Record<string, number>[] = [];
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += String(chunk);
    const wholeLines = text.split('\n');
    text = wholeLines.pop()!;
    for (const line of wholeLines) lines.push(JSON.parse(line) as Record<string, number>);
  });
  return { child, lines, ended: new Promise((resolve) => child.once('close', () => resolve())) };
}

test('each entry is won by one of the processes that race for a log, and no commit follows a newer generation', async () => {
  const folder = path.join(root, 'race');
  const writers = Array.from({ length: 4 }, (_, i) => startWriter(folder, `pool.host.${i}`, 6, 16));
  await Promise.all(writers.map(({ ended }) => ended));
  const storage = await openStorage(folder, { roots: null });
  const log = [];
  for await (const logEntry of readLog(storage)) log.unshift(logEntry);
  expect(log.map(({ sequence }) => sequence)).toEqual(log.map((_, i) => i + 1));
  expect(log.filter(({ damage }) => damage !== null)).toEqual([]);
  const generations = log.map(({ entry }) => entry!.generation);
  expect(generations).toEqual([...generations].sort((a, b) => a - b));
  expect(log.filter(({ entry }) => entry!.kind === 'generation')).toHaveLength(24);
  const reportedCommits = writers.flatMap(({ lines }) => lines.filter((line) => 'sequence' in line));
  const checkpoints = log.filter(({ entry }) => entry!.kind === 'checkpoint').map(({ sequence }) => sequence);
  expect(reportedCommits.map((line) => line.sequence).sort((a, b) => a! - b!)).toEqual(checkpoints);
}, 120_000);

test('a saver killed at any moment leaves the last commit that it reported, or a later one, sound', async () => {
  const folder = path.join(root, 'killed');
  const storage = await openStorage(folder, { roots: null });
  for (let kill = 0; kill < 12; kill += 1) {
    const { child, lines, ended } = startWriter(folder, `pool.host.${kill}`, 1000, 400_000);
    const minCommits = 1 + (kill % 3);
    await until(`${minCommits} commits`, () => lines.length >= minCommits);
    await new Promise((resolve) => setTimeout(resolve, (kill * 7) % 40));
    child.kill('SIGKILL');
    await ended;
    const lastReport = lines.at(-1)!;
    let values = new Set<number>();
    const { entry, damage } = await loadNewestSound(storage, async (checkpoint) => {
      values = new Set();
      await checkpoint.stream((_, __, chunk) => {
        const floats = new Float32Array(chunk.buffer, chunk.byteOffset, chunk.byteLength / 4);
        for (const value of floats) values.add(value);
      });
    });
    expect(damage).toEqual([]);
    expect(entry!.sequence).toBeGreaterThanOrEqual(lastReport.sequence!);
    expect([...values]).toEqual([entry!.generation * 1000 + entry!.trainer.step]);
  }
}, 120_000);
