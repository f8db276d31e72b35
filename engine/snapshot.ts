/** Host memory that snapshots are copied into: taken and given back, so that checkpoints do not allocate it each time. */
import type { DType } from '../graph/index.js';
import { EngineError } from '../shared/errors.js';
import { type TensorData, typedArray } from './typed_arrays.js';

/** Copies of tensors at one moment. Their memory is another snapshot's once `release` is called. */
export interface Snapshot {
  readonly tensors: ReadonlyMap<string, TensorData>;
  release(): void;
}

export interface SnapshotTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly bytes: number;
}

interface Region {
  readonly buffers: ArrayBuffer[];
  inUse: boolean;
}

/** A checkpoint may be copied while the one before is still written; a third would only pile up memory. */
const mostRegions = 2;

export class SnapshotRegions {
  #regions: Region[] = [];

  /** Memory for `tensors`. @throws EngineError where both regions are in use */
  take(tensors: readonly SnapshotTensor[]): { buffers: ArrayBuffer[]; snapshot: Snapshot } {
    const region = this.#free(tensors.map(({ bytes }) => bytes));
    region.inUse = true;
    return {
      buffers: region.buffers,
      snapshot: {
        tensors: new Map(tensors.map(({ name, dtype }, i) => [name, typedArray(dtype, region.buffers[i]!)])),
        release: () => {
          region.inUse = false;
        },
      },
    };
  }

  /** Forgets all memory. */
  clear(): void {
    this.#regions = [];
  }

  #free(sizes: readonly number[]): Region {
    const fits = ({ buffers }: Region) =>
      buffers.length === sizes.length && buffers.every(({ byteLength }, i) => byteLength === sizes[i]);
    const reusable = this.#regions.find((region) => !region.inUse && fits(region));
    if (reusable !== undefined) return reusable;
    // One of another size is of no use any more.
    this.#regions = this.#regions.filter(({ inUse }) => inUse);
    if (this.#regions.length >= mostRegions) {
      throw new EngineError(`${mostRegions} snapshots are in use: release one before taking another`);
    }
    const region = { buffers: sizes.map((size) => new ArrayBuffer(size)), inUse: false };
    this.#regions.push(region);
    return region;
  }
}
