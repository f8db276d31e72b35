/** Tensors of a published model as streams: from a commit, or from the base weights with an adapter folded in. */
import { open } from 'node:fs/promises';
import type { Checkpoint } from '../../../components/checkpoint/index.js';
import type { Weight, Weights } from '../../../components/models/index.js';
import { loraScale, mergedWeight, type PeftOptions } from '../../../components/peft/index.js';
import type { LinearModule } from '../../../graph/index.js';
import { loraNames } from '../../../graph/index.js';
import { fromFloat32, toFloat32 } from '../../../shared/safetensors/floats.js';
import type { SafetensorsDType, SafetensorsSource } from '../../../shared/safetensors/safetensors.js';

const chunkBytes = 4 << 20;
const safetensorsDType = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;

function dtypeOf(weight: Weight): SafetensorsDType {
  return safetensorsDType[weight.dtype as keyof typeof safetensorsDType];
}

/**
 * Returns the trained parameters of a commit. With `weights`, each in the dtype of its file, rounded once to nearest;
 * without, as the float32 masters they are.
 */
export function trainedSources(checkpoint: Checkpoint, weights?: Weights): SafetensorsSource[] {
  return Object.entries(checkpoint.tensors)
    .filter(([, { role }]) => role === 'trained')
    .map(([name, { shape }]) => {
      const weight = weights?.get(name);
      const dtype = weight === undefined ? 'F32' : dtypeOf(weight);
      return { name, dtype, shape, chunks: () => committedChunks(checkpoint, name, dtype) };
    });
}

/** Yields a commit's float32 tensor as `dtype`, a few MiB at a time. */
async function* committedChunks(
  checkpoint: Checkpoint,
  name: string,
  dtype: SafetensorsDType,
): AsyncGenerator<Uint8Array> {
  for await (const bytes of checkpoint.chunks(name)) {
    yield dtype === 'F32' ? bytes : fromFloat32(toFloat32(bytes, 'F32'), dtype);
  }
}

/** Returns every weight of the base model, those of adapted modules with s·B·A added; dtypes stay as they are. */
export async function mergedSources(
  checkpoint: Checkpoint,
  weights: Weights,
  adapted: readonly LinearModule[],
  peft: PeftOptions,
): Promise<SafetensorsSource[]> {
  const modules = new Map(adapted.map(({ module }) => [`${module}.weight`, module]));
  return [...weights].map(([name, weight]) => {
    const module = modules.get(name);
    const source = { name, dtype: dtypeOf(weight), shape: weight.shape };
    if (module === undefined) return { ...source, chunks: () => fileChunks(weight) };
    return { ...source, chunks: () => mergedChunks(checkpoint, weight, module, peft) };
  });
}

async function* mergedChunks(
  checkpoint: Checkpoint,
  weight: Weight,
  module: string,
  peft: PeftOptions,
): AsyncGenerator<Uint8Array> {
  const read = async (name: string) => {
    const bytes = await checkpoint.readRows(name, 0, checkpoint.tensors[name]!.shape[0]!);
    return toFloat32(bytes, 'F32');
  };
  const { a, b } = loraNames(module);
  const dtype = dtypeOf(weight);
  yield* mergedWeight({
    weight: { ...weight, dtype },
    a: await read(a),
    b: await read(b),
    rank: peft.rank,
    scale: loraScale(peft),
    dtype,
  });
}

/** Yields a weight's bytes as they are in its file. */
export async function* fileChunks({ file, byteOffset, byteLength }: Weight): AsyncGenerator<Uint8Array> {
  const handle = await open(file);
  try {
    for (let offset = 0; offset < byteLength; offset += chunkBytes) {
      const chunk = Buffer.alloc(Math.min(chunkBytes, byteLength - offset));
      await handle.read(chunk, 0, chunk.length, byteOffset + offset);
      yield chunk;
    }
  } finally {
    await handle.close();
  }
}
