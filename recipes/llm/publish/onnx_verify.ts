/**
 * Before an exported model becomes visible: ONNX Runtime, which shares no code with our engine, has to give the tokens of a
 * fixed probe the log-probabilities that the engine gives them.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { Generator } from '../../../components/generation/index.js';
import { type Model, openModel } from '../../../components/models/index.js';
import { loadTokenizer } from '../../../components/tokenizer/index.js';
import { defaultThreads } from '../../../engine/index.js';
import { CheckpointError } from '../../../shared/errors.js';
import { type OnnxPrecision, onnxContext } from '../onnx/onnx_files.js';
import { engineLogprobs } from '../score/engine_logprobs.js';

/**
 * Largest |Δ log p| allowed. In fp32 both engines sum the same products in another order, which comes to 1e-6 in small
 * models and to 4e-5 in one of 30 layers; no mistake in a graph stays below 1e-3. In fp16 every weight and activation is
 * rounded to 11 bits, 2^-11 of its size, and a logit of 20 to 40 is uncertain by some 0.02 (measured: 0.005 to 0.02); the
 * bound is a factor of ten above that.
 */
export const verifiedTo: Record<OnnxPrecision, number> = { fp32: 1e-3, fp16: 0.2 };

/** Words, digits, code, scripts of other alphabets, and what has several spellings in UTF-8. */
const probeText =
  'The river rose 3.25 m in 48 hours; by Tuesday, “nobody” could cross.\n' +
  'def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n' +
  'Zürich, naïve café – こんにちは 🌍';
/** Tokens of a probe at most. */
const probeTokens = 64;

export interface VerifiedModel {
  /** `model.onnx`. */
  onnx: string;
  precision: OnnxPrecision;
  /** The model that the engine runs: a model folder, and a PEFT adapter folder or null. */
  modelFolder: string;
  adapter: string | null;
}

/** @returns the largest difference found. Throws CheckpointError, with position and both values, where it is too large. */
export async function verifyOnnx(
  { onnx, precision, modelFolder, adapter }: VerifiedModel,
  signal: AbortSignal,
): Promise<number> {
  const model = await openModel(modelFolder);
  const probes = await buildProbes(model, modelFolder);
  const engine = await engineLogprobs({ modelFolder, adapter, probes }, signal);
  const runtime = await runtimeLogprobs(onnx, model, probes);
  const bound = verifiedTo[precision];
  let largest = 0;
  probes.forEach((ids, probe) => {
    for (const [i, expected] of engine[probe]!.entries()) {
      const exported = runtime[probe]![i]!;
      const difference = Math.abs(expected - exported);
      // Written so that NaN is a difference.
      if (!(difference <= bound))
        throw new CheckpointError(
          `${onnx}: the exported model is not the trained one: token ${i + 1} of probe ${probe + 1} (id ${ids[i + 1]}) has log-probability ` +
            `${exported.toFixed(6)} in ONNX Runtime and ${expected.toFixed(6)} in the engine, ${difference.toExponential(1)} apart where ${bound} is allowed (${precision}); nothing was published`,
        );
      largest = Math.max(largest, difference);
    }
  });
  return largest;
}

/**
 * Returns the tokens of a text, if there is a tokenizer, and ids from all over the vocabulary, its edges and the tokens
 * of beginning and end.
 */
async function buildProbes(model: Model, folder: string): Promise<number[][]> {
  const { vocabSize, eosTokenIds } = model;
  const spread = Array.from({ length: 24 }, (_, i) => Math.floor(((i + 0.5) * vocabSize) / 24));
  const edges = [...spread, 0, vocabSize - 1, ...eosTokenIds, 1 % vocabSize, vocabSize - 1, 0];
  const probes = [edges.filter((id) => id < vocabSize)];
  if (['tokenizer.json', 'tokenizer_config.json'].every((name) => existsSync(path.join(folder, name)))) {
    const tokenizer = await loadTokenizer(folder);
    const { ids } = tokenizer.encode(probeText, { addSpecial: true, offsets: false });
    probes.push(ids.filter((id) => id < vocabSize));
  }
  const longest = Math.min(probeTokens, onnxContext(model));
  return probes.map((ids) => ids.slice(0, longest));
}

async function runtimeLogprobs(
  onnx: string,
  model: Model,
  probes: readonly (readonly number[])[],
): Promise<Float64Array[]> {
  const generator = await Generator.open({
    onnx,
    eosTokenIds: model.eosTokenIds,
    contextLength: onnxContext(model),
    threads: defaultThreads(),
  });
  try {
    return await generator.logprobs(probes);
  } finally {
    await generator.close();
  }
}
