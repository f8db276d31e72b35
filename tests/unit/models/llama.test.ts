/** The decoder's graph in float64 against transformers in float64, so that only the graph can be wrong. */
import { open } from 'node:fs/promises';
import { locateWeights, openModel, type Weight, weightDTypes } from '../../../components/models/index.js';
import { interpret } from '../../../graph/index.js';
import { toFloat32 } from '../../../shared/safetensors/floats.js';
import { type GoldenDocument, golden, goldenModels, readGolden } from '../../support/goldens.js';
import { compileScoring } from '../graph/checked.js';

const fileDType = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;

async function readWeight({ file, byteOffset, byteLength, dtype }: Weight): Promise<Float32Array> {
  const handle = await open(file);
  const bytes = Buffer.alloc(byteLength);
  await handle.read(bytes, 0, byteLength, byteOffset);
  await handle.close();
  return toFloat32(bytes, fileDType[dtype as keyof typeof fileDType]);
}

test.each(goldenModels)('log-probabilities of %s are transformers’ to 1e-6', async (name) => {
  const folder = golden('models', name);
  const model = await openModel(folder);
  const weights = await locateWeights(folder, model);
  const document = readGolden<GoldenDocument[]>('models', name, 'expected.json')[0]!;
  const tokens = document.input_ids.length;
  const graph = model.forward({ tokens, positions: tokens, dtypes: weightDTypes(weights) });
  const feeds: Record<string, ArrayLike<number>> = {
    ids: document.input_ids,
    targets: [...document.input_ids.slice(1), -1],
    positions: document.input_ids.map((_, i) => i),
    spans: Array.from({ length: 2 * tokens }, (_, i) => (i % 2 === 0 ? 0 : (i - 1) / 2)),
  };
  for (const [key, constant] of model.constants(tokens)) feeds[`const:${key}`] = constant.data;
  for (const [key, weight] of weights) feeds[key] = await readWeight(weight);
  const { logprobs } = interpret(compileScoring({ graph }).graph, feeds);
  const errors = document.float64.map((expected, i) => Math.abs(expected - logprobs![i]!));
  // RoPE tables are float32 in both; everything else is float64 in both.
  expect(Math.max(...errors)).toBeLessThan(1e-6);
});
