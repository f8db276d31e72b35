/** Folding an adapter into the weights it was trained on: W + s·B·A, one block of rows at a time. */
import { open } from 'node:fs/promises';
import { ModelError } from '../../shared/errors.js';
import { fromFloat32, toFloat32 } from '../../shared/safetensors/floats.js';
import { type SafetensorsDType, safetensorsDTypeBytes } from '../../shared/safetensors/safetensors.js';

export interface MergeInput {
  /** W [out, in] in its file. */
  weight: { file: string; byteOffset: number; dtype: SafetensorsDType; shape: readonly number[] };
  /** A [R, in] */
  a: Float32Array;
  /** B [out, R] */
  b: Float32Array;
  rank: number;
  scale: number;
  /** Dtype of the result. */
  dtype: SafetensorsDType;
}

/** Bytes of W held at a time. */
const blockBytes = 1 << 22;

/** Yields the merged tensor's bytes, block by block. Sums in float64 in ascending order, then rounds once. */
export async function* mergedWeight({
  weight,
  a,
  b,
  rank,
  scale,
  dtype,
}: MergeInput): AsyncGenerator<Uint8Array> {
  const [out, width] = weight.shape as [number, number];
  if (a.length !== rank * width || b.length !== out * rank) {
    throw new ModelError(
      `${weight.file}: an adapter of rank ${rank} with ${a.length} and ${b.length} elements does not fit [${weight.shape}]`,
    );
  }
  const rowBytes = width * safetensorsDTypeBytes(weight.dtype);
  const rowsPerBlock = Math.max(1, Math.floor(blockBytes / rowBytes));
  const handle = await open(weight.file);
  const sum = new Float64Array(width);
  try {
    for (let first = 0; first < out; first += rowsPerBlock) {
      const rows = Math.min(rowsPerBlock, out - first);
      const bytes = Buffer.alloc(rows * rowBytes);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, weight.byteOffset + first * rowBytes);
      if (bytesRead !== bytes.length)
        throw new ModelError(
          `${weight.file}: became shorter while it was read; start again once nothing writes to it`,
        );
      const block = toFloat32(bytes, weight.dtype);
      for (let row = 0; row < rows; row++) {
        addLowRank(
          block.subarray(row * width, (row + 1) * width),
          sum,
          a,
          b,
          (first + row) * rank,
          rank,
          scale,
        );
      }
      yield fromFloat32(block, dtype);
    }
  } finally {
    await handle.close();
  }
}

/** Adds a low-rank update: row += scale · b[offset … offset + rank) · A */
function addLowRank(
  row: Float32Array,
  sum: Float64Array,
  a: Float32Array,
  b: Float32Array,
  offset: number,
  rank: number,
  scale: number,
): void {
  const width = row.length;
  sum.fill(0);
  for (let r = 0; r < rank; r++) {
    const factor = b[offset + r]! * scale;
    const from = r * width;
    for (let j = 0; j < width; j++) sum[j]! += factor * a[from + j]!;
  }
  for (let j = 0; j < width; j++) row[j]! += sum[j]!;
}
