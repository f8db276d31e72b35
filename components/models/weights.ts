/** Finds a model's tensors in its folder and checks them against what the config demands, all problems at once. */
import type { DType } from '../../graph/index.js';
import { ModelError } from '../../shared/errors.js';
import type { SafetensorsDType } from '../../shared/safetensors/safetensors.js';
import { type LocatedTensor, locateTensors } from '../../shared/safetensors/weight_index.js';
import type { Model } from './blocks/family.js';

export interface Weight {
  /** Absolute path of a safetensors file. */
  file: string;
  /** Offset from the start of the file. */
  byteOffset: number;
  byteLength: number;
  dtype: DType;
  shape: number[];
}

/** Name → position in a file, for the engine's `map`. In the order of the model. */
export type Weights = Map<string, Weight>;

const dtypes: Partial<Record<SafetensorsDType, DType>> = { F32: 'f32', BF16: 'bf16', F16: 'f16' };

/** Most problems that an error lists; a wrong model would otherwise print thousands of lines. */
const maxListed = 12;

/**
 * Locates and checks all weights.
 * @throws ModelError naming every tensor that is missing, unexpected, or of a wrong shape or dtype
 */
export async function locateWeights(folder: string, model: Model): Promise<Weights> {
  const located = await locateTensors(folder);
  const weights: Weights = new Map();
  const problems: string[] = [];
  for (const { name, shape } of model.tensors) {
    const tensor = located.get(name);
    if (tensor === undefined) {
      problems.push(`missing: ${name} [${shape}]`);
      continue;
    }
    const problem = mismatch(tensor, shape);
    if (problem !== null) problems.push(`${name}: ${problem}`);
    else weights.set(name, toWeight(tensor));
  }
  const expected = new Set(model.tensors.map(({ name }) => name));
  for (const name of located.keys()) {
    if (!expected.has(name) && !model.isIgnored(name)) problems.push(`unexpected: ${name}`);
  }
  if (problems.length > 0) {
    const more = problems.length > maxListed ? [`… and ${problems.length - maxListed} more`] : [];
    const lines = [...problems.slice(0, maxListed), ...more].map((line) => `  ${line}`).join('\n');
    throw new ModelError(
      `${folder}: its weights do not fit its config.json (${problems.length} problems)\n${lines}`,
    );
  }
  return weights;
}

function mismatch(tensor: LocatedTensor, shape: number[]): string | null {
  if (tensor.shape.join() !== shape.join())
    return `shape [${tensor.shape}], but the config makes it [${shape}]`;
  if (dtypes[tensor.dtype] === undefined)
    return `dtype ${tensor.dtype}; only F32, BF16 and F16 are supported`;
  return null;
}

function toWeight({ file, byteOffset, byteLength, dtype, shape }: LocatedTensor): Weight {
  return { file, byteOffset, byteLength, dtype: dtypes[dtype]!, shape };
}

/** Returns the dtypes of the files, for `Model.forward`. */
export function weightDTypes(weights: Weights): Map<string, DType> {
  return new Map([...weights].map(([name, { dtype }]) => [name, dtype]));
}

/** Index of the first NaN or infinity in a range of a file, or -1: what the engine offers. */
export type FirstNonFinite = (
  file: string,
  byteOffset: number,
  dtype: DType,
  elements: number,
) => Promise<number>;

/** Reads every weight once and throws ModelError naming each tensor that holds a NaN or an infinity, and where. */
export async function checkFinite(weights: Weights, firstNonFinite: FirstNonFinite): Promise<void> {
  const problems: string[] = [];
  for (const [name, { file, byteOffset, dtype, shape }] of weights) {
    const elements = shape.reduce((product, size) => product * size, 1);
    const index = await firstNonFinite(file, byteOffset, dtype, elements);
    if (index >= 0) problems.push(`${name}: element ${index} is not finite (${file})`);
  }
  if (problems.length > 0) {
    throw new ModelError(
      `the weights are damaged\n${problems
        .slice(0, maxListed)
        .map((line) => `  ${line}`)
        .join('\n')}`,
    );
  }
}
