import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { alignment } from '../../graph/passes/liveness.js';
import { temporaryFolder } from '../support/temporary_folder.js';

interface Probe {
  idle: number;
  resident: number;
  arenaHighWater: number;
  arena: number;
  total: number;
}

const folder = temporaryFolder();
const probe = path.join(import.meta.dirname, 'support/memory_probe.js');

async function measure(name: string, peft: string): Promise<Probe> {
  const recipe = path.join(folder, `${name}.yaml`);
  await writeFile(
    recipe,
    `name: ${name}
model: {name: ./model}
${peft}
data:
  train: {dataset_type: mock_packed, packs: 16, vocabulary_size: 2048}
  packed_sequence_size: 512
  batch_size: {global: 4, micro: 4}
training: {precision: bf16}
`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', probe, recipe], {
    env: { ...process.env, TEMPER_CACHE: path.join(folder, 'cache') },
  });
  return JSON.parse(stdout) as Probe;
}

test.each([
  ['full', ''],
  ['lora', 'peft: {type: lora}'],
])(
  '%s: the arena is what was planned, and resident memory within 15 %% of the plan',
  async (name, peft) => {
    const { idle, resident, arenaHighWater, arena, total } = await measure(name, peft);
    // To the end of the last buffer, which the arena rounds up.
    expect(Math.ceil(arenaHighWater / alignment) * alignment).toBe(arena);
    expect((resident - idle) / total).toBeGreaterThan(0.85);
    expect((resident - idle) / total).toBeLessThan(1.15);
  },
  120_000,
);
