import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { lossRule } from '../../../components/loss/index.js';
import type { Weight } from '../../../components/models/index.js';
import { createContext, type EngineContext } from '../../../engine/index.js';
import { type CompiledTraining, elements } from '../../../graph/index.js';
import { loadWeights } from '../../../recipes/llm/load_weights.js';
import { fromFloat32, toFloat32 } from '../../../shared/safetensors/floats.js';
import { compileTraining, inputSlots } from '../graph/checked.js';
import { feedsFor, tinyDecoder } from '../graph/tiny_decoder.js';

const lora = {
  rank: 3,
  alpha: 6,
  rslora: false,
  dropout: 0,
  matches: (module: string) => module.endsWith('_proj'),
};

const compile = (dtype: 'f16' | 'f32') =>
  compileTraining({
    graph: tinyDecoder({ T: 19, D: 24, H: 4, G: 2, K: 8, F: 31, V: 37, dtype, bias: true }),
    lora,
    precision: 'bf16',
    loss: lossRule('linear_ce'),
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0 },
  });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-weights-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes the model's frozen weights into one file, as float16 or as the same values in float32. */
async function writeWeightFile(compiled: CompiledTraining, dtype: 'f16' | 'f32') {
  const file = path.join(folder, dtype);
  const feeds = feedsFor(compiled.graph);
  const weights = new Map<string, Weight>();
  const parts: Uint8Array[] = [];
  let byteOffset = 0;
  for (const { name, shape, role } of compiled.tensors) {
    if (role !== 'frozen') continue;
    const halves = fromFloat32(
      Float32Array.from(feeds[name]!, (x) => 0.25 * x),
      'F16',
    );
    const bytes = dtype === 'f16' ? halves : new Uint8Array(toFloat32(halves, 'F16').buffer);
    weights.set(name, { file, byteOffset, byteLength: bytes.byteLength, dtype, shape: [...shape] });
    parts.push(bytes);
    byteOffset += bytes.byteLength;
  }
  await writeFile(file, Buffer.concat(parts));
  return { file, weights };
}

/** Returns the gradients of one micro-batch. */
async function computeGradients(compiled: CompiledTraining, context: EngineContext) {
  const feeds = feedsFor(compiled.graph);
  for (const { name, dtype, shape } of compiled.tensors) {
    if (context.tensors.has(name)) continue;
    context.allocate(name, dtype, shape);
    if (feeds[name] !== undefined) context.write(name, Float32Array.from(feeds[name]));
  }
  const plan = context.load(compiled.plan);
  const inputs = Object.fromEntries(
    inputSlots(compiled.plan, 'micro').map(({ name, dtype }) => [
      name,
      dtype === 'i32' ? Int32Array.from(feeds[name]!) : Float32Array.from(feeds[name]!),
    ]),
  );
  await plan.run('micro', inputs, { first: true });
  return compiled.trained.map((name) => context.read(`grad:${name}`));
}

test('float16 weights are mapped unchanged from their file, and the forecast counts their size', async () => {
  const compiled = compile('f16');
  const { file, weights } = await writeWeightFile(compiled, 'f16');
  expect(compiled.memory.frozen).toBe((await stat(file)).size);
  const context = createContext({ threads: 1 });
  const frozenTensors = compiled.tensors.filter(({ role }) => role === 'frozen');
  await loadWeights(context, frozenTensors, weights);
  expect([...context.tensors.keys()].sort()).toEqual(frozenTensors.map(({ name }) => name).sort());
  for (const { name, shape } of frozenTensors) {
    expect(context.tensors.get(name)!.dtype).toBe('f16');
    expect(() => context.write(name, new Uint16Array(elements(shape)))).toThrow(
      'is mapped from a file and read-only',
    );
  }
  context.close();
});

test('float16 weights give the same gradients, bit for bit, as their values in float32', async () => {
  const results = [];
  for (const dtype of ['f16', 'f32'] as const) {
    const compiled = compile(dtype);
    const context = createContext({ threads: 1 });
    const { weights } = await writeWeightFile(compiled, dtype);
    await loadWeights(
      context,
      compiled.tensors.filter(({ role }) => role === 'frozen'),
      weights,
    );
    results.push(await computeGradients(compiled, context));
    context.close();
  }
  expect(results[0]!.length).toBeGreaterThan(0);
  expect(results[0]).toEqual(results[1]);
});
