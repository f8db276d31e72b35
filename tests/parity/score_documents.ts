/** Scores documents on the native engine, all in one packed buffer as in training. */
import { locateWeights, openModel, weightDTypes } from '../../components/models/index.js';
import { type Adapter, readAdapter, readAdapterTensor } from '../../components/peft/index.js';
import { createContext, type EngineContext } from '../../engine/index.js';
import { compileScoring, type LoraOptions, type Precision, type TensorSpec } from '../../graph/index.js';
import { loadWeights } from '../../recipes/llm/load_weights.js';

interface Document {
  input_ids: number[];
}

/** log p(token i+1 | ≤ i) for each document. */
export async function scoreDocuments(
  folder: string,
  documents: readonly Document[],
  precision: Precision,
  adapterFolder: string | null = null,
): Promise<number[][]> {
  const model = await openModel(folder);
  const weights = await locateWeights(folder, model);
  const adapter = adapterFolder === null ? null : await readAdapter(adapterFolder, model.linearModules);
  const { tokens, longest, inputs } = pack(documents);
  const graph = model.forward({ tokens, positions: longest, dtypes: weightDTypes(weights) });
  const { plan, tensors } = compileScoring({ graph, precision, lora: adapter && loraOptions(adapter) });
  const constants = model.constants(longest);
  const context = createContext({ threads: 2 });
  try {
    await loadWeights(
      context,
      tensors.filter(({ name }) => weights.has(name)),
      weights,
    );
    for (const spec of tensors) {
      if (weights.has(spec.name)) continue;
      const constant = constants.get(spec.name.replace('const:', ''));
      await fill(context, spec, constant?.data ?? (await readAdapterTensor(adapter!, spec.name)));
    }
    const { logprobs } = await context.load(plan).run('score', inputs);
    return split([...(logprobs as Float32Array)], documents);
  } finally {
    context.close();
  }
}

async function fill(
  context: EngineContext,
  { name, dtype, shape }: TensorSpec,
  data: Float32Array,
): Promise<void> {
  context.allocate(name, dtype, shape);
  context.write(name, data);
}

function loraOptions(adapter: Adapter): LoraOptions {
  const adapted = new Set(adapter.modules.map(({ module }) => module));
  const { rank, alpha, rslora } = adapter;
  return { rank, alpha, rsLora: rslora, dropout: 0, matches: (module) => adapted.has(module) };
}

function pack(documents: readonly Document[]) {
  const tokens = documents.reduce((sum, { input_ids }) => sum + input_ids.length, 0);
  const segments = new Int32Array(tokens + 1).fill(tokens);
  let start = 0;
  for (const [i, { input_ids }] of documents.entries()) {
    segments[i] = start;
    start += input_ids.length;
  }
  const inputs = {
    ids: Int32Array.from(documents.flatMap(({ input_ids }) => input_ids)),
    positions: Int32Array.from(documents.flatMap(({ input_ids }) => input_ids.map((_, i) => i))),
    targets: Int32Array.from(documents.flatMap(({ input_ids }) => [...input_ids.slice(1), -1])),
    segments,
  };
  return { tokens, longest: Math.max(...documents.map(({ input_ids }) => input_ids.length)), inputs };
}

function split(logprobs: number[], documents: readonly Document[]): number[][] {
  let at = 0;
  return documents.map(({ input_ids }) => {
    const own = logprobs.slice(at, at + input_ids.length - 1);
    at += input_ids.length;
    return own;
  });
}

/** Largest |a − b| over all tokens. */
export function distance(a: number[][], b: number[][]): number {
  return Math.max(...differences(a, b).map(Math.abs));
}

/** Root of the mean square of a − b: one outlier of a few tokens says little about a precision. */
export function rms(a: number[][], b: number[][]): number {
  const all = differences(a, b);
  return Math.sqrt(all.reduce((sum, x) => sum + x * x, 0) / all.length);
}

function differences(a: number[][], b: number[][]): number[] {
  return a.flatMap((row, i) => row.map((value, j) => value - b[i]![j]!));
}
