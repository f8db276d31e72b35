/** The weights of a model folder as streams, with an adapter folder folded in. */
import type { Weights } from '../../../components/models/index.js';
import { type Adapter, loraScale, mergedWeight, readAdapterTensor } from '../../../components/peft/index.js';
import { loraNames } from '../../../graph/index.js';
import type { SafetensorsSource } from '../../../shared/safetensors/safetensors.js';
import { fileChunks } from '../model_folder/full_weights.js';

const dtypes = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;

/**
 * Returns every weight in the dtype of its file; those that the adapter changes in float32, so that nothing is lost
 * here.
 */
export function folderSources(weights: Weights, adapter: Adapter | null): SafetensorsSource[] {
  const adapted = new Map(adapter?.modules.map(({ module }) => [`${module}.weight`, module]));
  return [...weights].map(([name, weight]) => {
    const dtype = dtypes[weight.dtype as keyof typeof dtypes];
    const module = adapted.get(name);
    if (adapter === null || module === undefined)
      return { name, dtype, shape: weight.shape, chunks: () => fileChunks(weight) };
    const merged = async function* () {
      const { a, b } = loraNames(module);
      yield* mergedWeight({
        weight: { ...weight, dtype },
        a: await readAdapterTensor(adapter, a),
        b: await readAdapterTensor(adapter, b),
        rank: adapter.rank,
        scale: loraScale(adapter),
        dtype: 'F32',
      });
    };
    return { name, dtype: 'F32' as const, shape: weight.shape, chunks: merged };
  });
}
