/** Log-probabilities of the native engine against transformers', on the tiny models and with their adapters. */
import { locateWeights, openModel, weightDTypes } from '../../components/models/index.js';
import { loraScale, readAdapter, readAdapterTensor } from '../../components/peft/index.js';
import { createContext } from '../../engine/index.js';
import { compileScoring, type Precision } from '../../graph/index.js';
import { type GoldenDocument, golden, goldenModels, readGolden } from '../support/goldens.js';

/** All documents in one packed buffer, as training has them. */
function pack(documents: GoldenDocument[]) {
  const tokens = documents.reduce((sum, { input_ids }) => sum + input_ids.length, 0);
  const ids = Int32Array.from(documents.flatMap(({ input_ids }) => input_ids));
  const positions = Int32Array.from(documents.flatMap(({ input_ids }) => input_ids.map((_, i) => i)));
  const targets = Int32Array.from(documents.flatMap(({ input_ids }) => [...input_ids.slice(1), -1]));
  const segments = new Int32Array(tokens + 1).fill(tokens);
  let start = 0;
  for (const [i, { input_ids }] of documents.entries()) {
    segments[i] = start;
    start += input_ids.length;
  }
  return { tokens, inputs: { ids, positions, targets, segments } };
}

/** Log-probabilities of every document. */
async function score(
  folder: string,
  documents: GoldenDocument[],
  precision: Precision,
  adapterFolder: string | null = null,
) {
  const model = await openModel(folder);
  const weights = await locateWeights(folder, model);
  const { tokens, inputs } = pack(documents);
  const graph = model.forward({ tokens, positions: 64, dtypes: weightDTypes(weights) });
  const adapter = adapterFolder === null ? null : await readAdapter(adapterFolder, model.linearModules);
  const adapted = new Set(adapter?.modules.map(({ module }) => module));
  const lora = adapter && {
    rank: adapter.rank,
    alpha: adapter.alpha,
    rsLora: adapter.rslora,
    dropout: 0,
    matches: (module: string) => adapted.has(module),
  };
  const { plan, tensors } = compileScoring({ graph, precision, lora });
  const context = createContext({ threads: 2 });
  try {
    const constants = model.constants(64);
    for (const { name, role, dtype, shape } of tensors) {
      const weight = weights.get(name);
      if (weight !== undefined && role === 'frozen') {
        context.map(name, weight.file, weight.byteOffset, weight.dtype, weight.shape);
        continue;
      }
      context.allocate(name, dtype, shape);
      context.write(
        name,
        constants.get(name.replace('const:', ''))?.data ?? (await readAdapterTensor(adapter!, name)),
      );
    }
    const { logprobs } = await context.load(plan).run('score', inputs);
    let at = 0;
    return documents.map(({ input_ids }) => {
      const own = [...(logprobs as Float32Array).subarray(at, at + input_ids.length - 1)];
      at += input_ids.length;
      return own;
    });
  } finally {
    context.close();
  }
}

/** Largest |a − b| over all tokens. */
function distance(a: number[][], b: number[][]): number {
  return Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!))));
}

/** Root of the mean square: one outlier of 31 tokens says little about a precision. */
function rms(a: number[][], b: number[][]): number {
  const squares = a.flatMap((row, i) => row.map((value, j) => (value - b[i]![j]!) ** 2));
  return Math.sqrt(squares.reduce((sum, x) => sum + x, 0) / squares.length);
}

describe.each(goldenModels)('%s', (name) => {
  const documents = readGolden<GoldenDocument[]>('models', name, 'expected.json');
  const exact = documents.map(({ float64 }) => float64);

  test('float32 scores are transformers’ to 1e-5', async () => {
    expect(distance(await score(golden('models', name), documents, 'f32'), exact)).toBeLessThan(1e-5);
  });

  test('bfloat16 scores err at most twice as much as torch’s autocast', async () => {
    const torch = rms(
      documents.map(({ bfloat16 }) => bfloat16),
      exact,
    );
    expect(rms(await score(golden('models', name), documents, 'bf16'), exact)).toBeLessThan(2 * torch);
  });
});

describe.each(['lora', 'rslora'])('the peft adapter %s', (name) => {
  const documents = readGolden<GoldenDocument[]>('peft', name, 'expected.json');

  test('scores as in peft to 1e-5', async () => {
    const scores = await score(golden('models', 'gqa_tied_bf16'), documents, 'f32', golden('peft', name));
    const exact = documents.map(({ float64 }) => float64);
    expect(distance(scores, exact)).toBeLessThan(1e-5);
  });

  test('moves the scores well beyond that tolerance', async () => {
    const base = await score(golden('models', 'gqa_tied_bf16'), documents, 'f32');
    const exact = documents.map(({ float64 }) => float64);
    expect(distance(base, exact)).toBeGreaterThan(0.1);
    expect(loraScale({ rank: 4, alpha: 8, rslora: false })).toBe(2);
  });
});
