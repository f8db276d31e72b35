import { execFile } from 'node:child_process';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { defaultAlignment } from '../../graph/passes/liveness.js';
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

/** Some 8 million parameters: enough for the plan to outweigh the process itself. */
const model = { vocabulary: 2048, hidden: 256, intermediate: 1024, layers: 8, heads: 4 };
const lora = 'peft: {type: lora}';

/** Trains two steps; each micro-batch has `tokens` in four packs. */
async function measure(name: string, peft: string, shape: object, tokens: number): Promise<Probe> {
  const recipe = path.join(folder, name, 'recipe.yaml');
  await mkdir(path.dirname(recipe));
  await writeFile(
    recipe,
    `name: ${name}
model: {name: ./model}
${peft}
data:
  train: {dataset_type: mock_packed, packs: 16, vocabulary_size: 2048}
  packed_sequence_size: ${tokens / 4}
  batch_size: {global: 4, micro: 4}
training: {precision: bf16}
`,
  );
  const parameters = ['--expose-gc', probe, recipe, JSON.stringify(shape)];
  const { stdout } = await promisify(execFile)(process.execPath, parameters, {
    env: { ...process.env, TEMPER_CACHE: path.join(folder, 'cache') },
  });
  return JSON.parse(stdout) as Probe;
}

function expectAsPlanned({ idle, resident, total }: Probe): void {
  expect((resident - idle) / total).toBeGreaterThan(0.85);
  expect((resident - idle) / total).toBeLessThan(1.15);
}

test.each([
  ['full', ''],
  ['lora', lora],
])(
  'the arena of a %s run has the planned size, and resident memory is within 15 %% of the plan',
  async (name, peft) => {
    const memory = await measure(name, peft, model, 2048);
    // The high-water mark is the end of the last buffer, which the arena rounds up.
    expect(Math.ceil(memory.arenaHighWater / defaultAlignment) * defaultAlignment).toBe(memory.arena);
    expectAsPlanned(memory);
  },
  120_000,
);

test('float16 weights take the bytes of their file, half of those of float32', async () => {
  // 34 million parameters and few tokens: the weights are most of the memory.
  const large = { ...model, hidden: 512, intermediate: 2048 };
  const single = await measure('f32', lora, { ...large, dtype: 'F32' }, 128);
  const half = await measure('f16', lora, { ...large, dtype: 'F16' }, 128);
  expectAsPlanned(single);
  expectAsPlanned(half);
  const readSize = async (name: string) =>
    (await stat(path.join(folder, name, 'model/model.safetensors'))).size;
  const saved = single.resident - single.idle - (half.resident - half.idle);
  const expected = (await readSize('f32')) - (await readSize('f16'));
  expect(saved / expected).toBeGreaterThan(0.85);
  expect(saved / expected).toBeLessThan(1.15);
}, 120_000);
