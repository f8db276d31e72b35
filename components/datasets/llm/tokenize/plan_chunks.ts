/** Finds the files of a dataset's options, and the chunks they are cut into. */
import { digestFile } from '../../../../shared/digest.js';
import type { Chunk } from '../sources/chunk.js';
import { type DataFile, detectFormat, type FileFormat, resolveFiles } from '../sources/files.js';
import { splitParquet } from '../sources/parquet.js';
import { splitFile } from '../sources/split.js';
import type { FileOptions } from '../types/definition.js';
import { datasetDefinition } from '../types/registry.js';
import type { SingleDataset } from '../types/schema.js';
import { rowRange } from './tokenize.js';

export interface SourceFile extends DataFile {
  format: FileFormat;
  sha256: string;
}

export interface PlannedSource {
  dataset: SingleDataset;
  weight: number;
  files: SourceFile[];
}

/** Resolves and digests a dataset's files. Generated data has none. */
export async function planSource(
  dataset: SingleDataset,
  weight: number,
  signal?: AbortSignal,
): Promise<PlannedSource> {
  const files: SourceFile[] = [];
  if (datasetDefinition(dataset.dataset_type).source.kind === 'files') {
    const options = dataset as unknown as FileOptions;
    for (const file of await resolveFiles(options.path)) {
      const format = await detectFormat(file.path, options.format ?? 'auto');
      files.push({ ...file, format, sha256: (await digestFile(file.path, signal)).sha256 });
    }
  }
  return { dataset, weight, files };
}

/** Rows of a chunk of generated data. */
const rowsOfGeneratedChunk = 4096;

/** Yields the chunks that hold the dataset's selected rows, in order. */
export async function* planChunks({
  dataset,
  files,
}: Pick<PlannedSource, 'dataset' | 'files'>): AsyncGenerator<Chunk> {
  const { source } = datasetDefinition(dataset.dataset_type);
  if (source.kind === 'generated') {
    const rows = source.rows(dataset);
    for (let start = 0; start < rows; start += rowsOfGeneratedChunk) {
      const end = Math.min(rows, start + rowsOfGeneratedChunk);
      const range = {
        file: null,
        format: 'generated' as const,
        start,
        end,
        firstRow: start,
        firstRowOfFile: start,
      };
      yield { ...range, rows: end - start, headerEnd: 0, begins: true, ends: true };
    }
    return;
  }
  const options = dataset as unknown as FileOptions;
  const [from, to] = rowRange({ rows: options.rows ?? null, limit: options.limit ?? null });
  const unit = source.textUnit(dataset);
  let firstRow = 0;
  for (const { path: file, format } of files) {
    const chunks =
      format === 'parquet' ? splitParquet(file, firstRow) : splitFile(file, format, unit, firstRow);
    let next = firstRow;
    for await (const chunk of chunks) {
      if (chunk.firstRow >= to) return;
      next = chunk.firstRow + chunk.rows;
      if (next > from) yield chunk;
    }
    firstRow = next;
  }
}
