/**
 * One rank's file of a checkpoint: rows of tensors, as safetensors, and next to it a sidecar that says where they are,
 * with a checksum of each block of rows.
 */
import {
  type CommittedFile,
  type CommittedTensor,
  checkpointFolder,
  type Sidecar,
  sidecarSchema,
  type TensorPart,
} from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { sha256 } from '../../shared/digest.js';
import { CheckpointError } from '../../shared/errors.js';
import {
  layoutSafetensors,
  type SafetensorsDType,
  type SafetensorsLayout,
} from '../../shared/safetensors/safetensors.js';
import type { Storage } from '../../shared/storage/index.js';

type DType = CommittedTensor['dtype'];

/** A tensor, or a range of its rows, in host memory. The bytes may not change until the save is done. */
export interface RankTensor {
  name: string;
  dtype: DType;
  role: CommittedTensor['role'];
  /** Shape of the whole tensor; `[]` is a scalar, of one row. */
  shape: readonly number[];
  /** Rows of the first axis that `data` holds, half-open. */
  rows: readonly [number, number];
  /** Row-major, little-endian. */
  data: ArrayBuffer | ArrayBufferView;
}

/** A rank's part of a commit, as it was written. */
export interface RankFile {
  content: CommittedFile;
  tensors: Record<string, CommittedTensor & { rows: readonly [number, number] }>;
}

export interface RankPosition {
  generation: number;
  step: number;
  rank: number;
  worldSize: number;
}

/** Most bytes of a block, unless a single row is longer. */
const blockBytes = 1 << 20;
/** Bytes are handed to the storage in pieces of this size. */
const pieceBytes = 8 << 20;
const safetensorsDType: Record<DType, SafetensorsDType> = { f32: 'F32', bf16: 'BF16', f16: 'F16' };

function rankFileKey({ generation, step, rank, worldSize }: RankPosition): string {
  const number = (value: number) => String(value).padStart(5, '0');
  return `${checkpointFolder(generation, step)}/rank-${number(rank)}-of-${number(worldSize)}.safetensors`;
}

/** Returns the number of rows of a tensor, and bytes of one. */
export function countRows({ dtype, shape }: { dtype: DType; shape: readonly number[] }): {
  rows: number;
  rowBytes: number;
} {
  const element = dtype === 'f32' ? 4 : 2;
  const rowBytes = shape.slice(1).reduce((product, size) => product * size, element);
  return { rows: shape[0] ?? 1, rowBytes };
}

/** Returns the key of the sidecar of a rank's file. */
export function sidecarKey(file: string): string {
  return file.replace(/\.safetensors$/, '.json');
}

/**
 * Writes and syncs a rank's file and its sidecar. They count only once a commit names them.
 * @throws StorageError; leaves no partial file
 */
export async function writeRankFile(
  storage: Storage,
  position: RankPosition,
  tensors: readonly RankTensor[],
): Promise<RankFile> {
  const file = rankFileKey(position);
  const layout = layoutSafetensors(tensors.map((tensor) => describe(file, tensor)));
  const totals: FileTotals = { crc32c: 0, parts: {} };
  await storage.write(file, pieces(layout, totals));
  const content = { bytes: layout.fileBytes, crc32c: totals.crc32c };
  const sidecar: Sidecar = { version: 1, ...content, tensors: totals.parts };
  const text = Buffer.from(`${JSON.stringify(sidecar)}\n`);
  await storage.write(sidecarKey(file), text);
  return {
    content: { file, ...content, sidecar: sha256(text) },
    tensors: Object.fromEntries(
      tensors.map(({ name, dtype, role, shape, rows }) => [name, { dtype, role, shape: [...shape], rows }]),
    ),
  };
}

/** Returns where a committed file's rows are, or in words why its sidecar cannot be used. */
export async function readSidecar(storage: Storage, committed: CommittedFile): Promise<Sidecar | string> {
  const { file, bytes, crc32c: checksum, sidecar } = committed;
  if (typeof sidecar !== 'string') return sidecar;
  const key = sidecarKey(file);
  if ((await storage.size(key)) === null) return 'the file is missing';
  const text = await storage.read(key);
  const digest = sha256(text);
  if (digest !== sidecar) return `its sha256 is ${digest.slice(0, 12)}… instead of ${sidecar.slice(0, 12)}…`;
  const description = sidecarSchema.parse(JSON.parse(text.toString('utf8')));
  return description.bytes === bytes && description.crc32c === checksum
    ? description
    : 'it describes another file';
}

interface Described {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
  source: RankTensor;
  bytes: Uint8Array;
}

function describe(file: string, source: RankTensor): Described {
  const [from, to] = source.rows;
  const { rows, rowBytes } = countRows(source);
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

interface FileTotals {
  crc32c: number;
  parts: Record<string, TensorPart>;
}

/** Yields the file's bytes; fills in the checksums as they go by. */
async function* pieces(layout: SafetensorsLayout<Described>, totals: FileTotals): AsyncGenerator<Uint8Array> {
  totals.crc32c = crc32c(layout.header);
  yield layout.header;
  for (const { tensor, byteOffset, byteLength } of layout.tensors) {
    const { name, rows } = tensor.source;
    const { rowBytes } = countRows(tensor.source);
    const blockRows = Math.max(1, Math.floor(blockBytes / Math.max(1, rowBytes)));
    const part: TensorPart = {
      start: byteOffset,
      end: byteOffset + byteLength,
      rows: [rows[0], rows[1]],
      blockRows,
      blocks: [],
    };
    for (let offset = 0; offset < byteLength; offset += blockRows * rowBytes) {
      part.blocks.push(crc32c(tensor.bytes.subarray(offset, offset + blockRows * rowBytes)));
    }
    for (let offset = 0; offset < byteLength; offset += pieceBytes) {
      const piece = tensor.bytes.subarray(offset, offset + pieceBytes);
      totals.crc32c = crc32c(piece, totals.crc32c);
      yield piece;
    }
    totals.parts[name] = part;
  }
}

/**
 * Joins the ranks' records to the tensors and files of a commit.
 * @throws CheckpointError when ranks disagree about a tensor, or its rows overlap or leave a gap
 */
export function mergeRankFiles(records: readonly RankFile[]): {
  tensors: Record<string, CommittedTensor>;
  files: CommittedFile[];
} {
  const byName = new Map<string, { tensor: CommittedTensor; parts: HeldRows[] }>();
  for (const { content, tensors } of records) {
    for (const [name, { rows, ...tensor }] of Object.entries(tensors)) {
      const entry = byName.get(name) ?? { tensor, parts: [] };
      if (entry.tensor.dtype !== tensor.dtype || String(entry.tensor.shape) !== String(tensor.shape)) {
        throw new CheckpointError(
          `${content.file}: tensor '${name}' is ${tensor.dtype} [${tensor.shape}], but ${entry.tensor.dtype} [${entry.tensor.shape}] on another rank`,
        );
      }
      entry.parts.push({ file: content.file, rows });
      byName.set(name, entry);
    }
  }
  for (const [name, { tensor, parts }] of byName) checkRows(name, tensor, parts);
  return {
    tensors: Object.fromEntries([...byName].map(([name, { tensor }]) => [name, tensor])),
    files: records.map(({ content }) => content),
  };
}

interface HeldRows {
  file: string;
  rows: readonly [number, number];
}

/** Checks that a tensor's parts are the whole of it. */
function checkRows(name: string, tensor: CommittedTensor, parts: readonly HeldRows[]): void {
  const heldParts = parts.filter(({ rows: [from, to] }) => to > from).sort((a, b) => a.rows[0] - b.rows[0]);
  let covered = 0;
  for (const { rows, file } of heldParts) {
    if (rows[0] !== covered) {
      throw new CheckpointError(
        `${file}: tensor '${name}' continues at row ${rows[0]}, but the ranks before end at ${covered}`,
      );
    }
    covered = rows[1];
  }
  const { rows } = countRows(tensor);
  if (covered !== rows)
    throw new CheckpointError(`tensor '${name}' has ${rows} rows, but the ranks saved ${covered}`);
}
