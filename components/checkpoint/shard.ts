/** One rank's file of a checkpoint: rows of tensors, as safetensors, with a checksum of the file and of each tensor. */
import type { CommittedFile, CommittedTensor, TensorPart } from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { CheckpointError } from '../../shared/errors.js';
import {
  layoutSafetensors,
  type SafetensorsDType,
  type SafetensorsLayout,
} from '../../shared/safetensors.js';
import type { Storage } from '../../shared/storage/index.js';

type DType = CommittedTensor['dtype'];

/** A tensor, or a range of its rows, in host memory. The bytes may not change until the save is done. */
export interface ShardTensor {
  name: string;
  dtype: DType;
  /** Of the whole tensor; `[]` is a scalar, of one row. */
  shape: readonly number[];
  /** Rows of the first axis that `data` holds, half-open. */
  rows: readonly [number, number];
  /** Row-major, little-endian. */
  data: ArrayBuffer | ArrayBufferView;
}

/** What a rank wrote: its part of a commit. */
export interface ShardRecord {
  file: string;
  content: CommittedFile;
  tensors: Record<string, { dtype: DType; shape: number[]; part: TensorPart }>;
}

export interface ShardPlace {
  generation: number;
  step: number;
  rank: number;
  worldSize: number;
}

/** Checksums are taken, and bytes handed to the storage, in pieces of this size. */
const pieceBytes = 8 << 20;
const safetensorsDType: Record<DType, SafetensorsDType> = { f32: 'F32', bf16: 'BF16', f16: 'F16' };

/** `g<generation>/step-<8 digits>`, relative to the run. */
export function stepFolder(generation: number, step: number): string {
  return `g${generation}/step-${String(step).padStart(8, '0')}`;
}

function shardFile({ generation, step, rank, worldSize }: ShardPlace): string {
  const number = (value: number) => String(value).padStart(5, '0');
  return `${stepFolder(generation, step)}/rank-${number(rank)}-of-${number(worldSize)}.safetensors`;
}

/** Number of rows of a tensor, and bytes of one. */
export function rowsOf({ dtype, shape }: { dtype: DType; shape: readonly number[] }): {
  rows: number;
  rowBytes: number;
} {
  const element = dtype === 'f32' ? 4 : 2;
  const rowBytes = shape.slice(1).reduce((product, size) => product * size, element);
  return { rows: shape[0] ?? 1, rowBytes };
}

/** Writes and syncs a rank's file. It counts only once a commit names it. Throws StorageError; leaves no partial file. */
export async function writeShard(
  run: Storage,
  place: ShardPlace,
  tensors: readonly ShardTensor[],
): Promise<ShardRecord> {
  const file = shardFile(place);
  const layout = layoutSafetensors(tensors.map((tensor) => describe(file, tensor)));
  const content = { bytes: layout.fileBytes, crc32c: 0 };
  const record: ShardRecord = { file, content, tensors: {} };
  await run.write(file, pieces(layout, record));
  return record;
}

interface Described {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
  source: ShardTensor;
  bytes: Uint8Array;
}

function describe(file: string, source: ShardTensor): Described {
  const [from, to] = source.rows;
  const { rows, rowBytes } = rowsOf(source);
  const bytes = ArrayBuffer.isView(source.data)
    ? new Uint8Array(source.data.buffer, source.data.byteOffset, source.data.byteLength)
    : new Uint8Array(source.data);
  if (from < 0 || to < from || to > rows || bytes.length !== (to - from) * rowBytes) {
    throw new CheckpointError(
      `${file}: tensor '${source.name}' [${source.shape}]: rows ${from} to ${to} take ${(to - from) * rowBytes} bytes, but ${bytes.length} were given`,
    );
  }
  const shape = source.shape.length === 0 ? [] : [to - from, ...source.shape.slice(1)];
  return { name: source.name, dtype: safetensorsDType[source.dtype], shape, source, bytes };
}

/** The file's bytes; fills in the record's checksums as they go by. */
async function* pieces(
  layout: SafetensorsLayout<Described>,
  record: ShardRecord,
): AsyncGenerator<Uint8Array> {
  record.content.crc32c = crc32c(layout.header);
  yield layout.header;
  for (const { tensor, byteOffset, byteLength } of layout.tensors) {
    const { name, dtype, shape, rows } = tensor.source;
    const part: TensorPart = {
      file: record.file,
      start: byteOffset,
      end: byteOffset + byteLength,
      rows: [rows[0], rows[1]],
      crc32c: 0,
    };
    for (let at = 0; at < byteLength; at += pieceBytes) {
      const piece = tensor.bytes.subarray(at, at + pieceBytes);
      part.crc32c = crc32c(piece, part.crc32c);
      record.content.crc32c = crc32c(piece, record.content.crc32c);
      yield piece;
    }
    record.tensors[name] = { dtype, shape: [...shape], part };
  }
}

/**
 * Joins the ranks' records to the tensors and files of a commit. Throws CheckpointError when ranks disagree about a
 * tensor, or its rows overlap or leave a gap.
 */
export function mergeShards(records: readonly ShardRecord[]): {
  tensors: Record<string, CommittedTensor>;
  files: Record<string, CommittedFile>;
} {
  const tensors = new Map<string, CommittedTensor>();
  const files: Record<string, CommittedFile> = {};
  for (const { file, content, tensors: shards } of records) {
    files[file] = content;
    for (const [name, { dtype, shape, part }] of Object.entries(shards)) {
      const tensor = tensors.get(name) ?? { dtype, shape, parts: [] };
      if (tensor.dtype !== dtype || String(tensor.shape) !== String(shape)) {
        throw new CheckpointError(
          `${file}: tensor '${name}' is ${dtype} [${shape}], but ${tensor.dtype} [${tensor.shape}] on another rank`,
        );
      }
      tensor.parts.push(part);
      tensors.set(name, tensor);
    }
  }
  for (const [name, tensor] of tensors) checkRows(name, tensor);
  return { tensors: Object.fromEntries(tensors), files };
}

/** Sorts a tensor's parts by row, and checks that they are the whole of it. */
function checkRows(name: string, tensor: CommittedTensor): void {
  tensor.parts = tensor.parts.filter(({ rows: [from, to] }) => to > from);
  tensor.parts.sort((a, b) => a.rows[0] - b.rows[0]);
  let covered = 0;
  for (const { rows, file } of tensor.parts) {
    if (rows[0] !== covered) {
      throw new CheckpointError(
        `${file}: tensor '${name}' continues at row ${rows[0]}, but the ranks before end at ${covered}`,
      );
    }
    covered = rows[1];
  }
  const { rows } = rowsOf(tensor);
  if (covered !== rows)
    throw new CheckpointError(`tensor '${name}' has ${rows} rows, but the ranks saved ${covered}`);
}
