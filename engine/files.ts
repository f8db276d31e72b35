/** The engine's work on files: dequantization and the search for NaN, off the event loop, and checksums. */
import type { DType } from '../graph/index.js';
import { EngineError } from '../shared/errors.js';
import { addon } from './addon.js';
import { native, nativeAsync } from './errors.js';
import { defaultThreads } from './host.js';

/** Tensor types of GGUF files that the engine unpacks, by ggml's number. */
export const ggmlTypes = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  12: 'Q4_K',
  14: 'Q6_K',
  30: 'BF16',
} as const satisfies Record<number, string>;

export interface DequantizeOptions {
  file: string;
  byteOffset: number;
  /** ggml's number of the type: a key of `ggmlTypes`. */
  type: number;
  elements: number;
  /** Created if absent, otherwise extended or overwritten in place; its folder must exist. */
  output: string;
  outputOffset: number;
  dtype: 'f32' | 'bf16';
}

/**
 * Converts a tensor of a GGUF file to dense values in `output`, on as many threads as a context gets. The values are those of ggml's
 * `dequantize_row_*`, bit by bit; bf16 is rounded to nearest even from them. @throws EngineError on an unknown type,
 * a range outside the file, and when reading or writing fails.
 */
export async function dequantize(options: DequantizeOptions): Promise<void> {
  const { file, byteOffset, type, elements, output, outputOffset, dtype } = options;
  requireCounts(file, { byteOffset, type, elements, outputOffset });
  const threads = defaultThreads();
  await nativeAsync(async () =>
    addon().dequantize(file, byteOffset, type, elements, output, outputOffset, dtype, threads),
  );
}

/**
 * Returns the index of the first NaN or infinity among `elements` values at `byteOffset` of a file, or -1; on as many threads as a
 * context gets.
 */
export async function firstNonFinite(
  file: string,
  byteOffset: number,
  dtype: DType,
  elements: number,
): Promise<number> {
  requireCounts(file, { byteOffset, elements });
  const threads = defaultThreads();
  return nativeAsync(async () => addon().firstNonFinite(file, byteOffset, dtype, elements, threads));
}

/**
 * CRC-32C (Castagnoli) of `data`, continuing from `crc`. About 0.1 ms a megabyte at most: pass a large file in pieces,
 * and the event loop is never held for long.
 */
export function crc32c(data: Uint8Array, crc = 0): number {
  return native(() => addon().crc32c(data, crc));
}

function requireCounts(file: string, counts: Record<string, number>): void {
  for (const [key, value] of Object.entries(counts)) {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new EngineError(`${file}: ${key} ${value} is not a count`);
  }
}
