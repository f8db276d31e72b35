/** The committed goldens that tests/parity/make_goldens.py made. */
import { readFileSync } from 'node:fs';
import path from 'node:path';

const goldens = path.resolve(import.meta.dirname, '../../../tests/parity/goldens');

export function golden(...parts: string[]): string {
  return path.join(goldens, ...parts);
}

export function readGolden<T>(...parts: string[]): T {
  return JSON.parse(readFileSync(golden(...parts), 'utf8')) as T;
}

/** transformers' log p(token i+1 | ≤ i) of a document, in float64 and in two lower precisions. */
export interface GoldenDocument {
  input_ids: number[];
  float64: number[];
  float32: number[];
  bfloat16: number[];
}

/** The tiny models under goldens/models, one folder each. */
export const goldenModels = [
  'mha_untied_old_spelling',
  'gqa_tied_bf16',
  'explicit_head_dim',
  'mqa_biases',
  'f16_two_files_large_eps',
  'rope_linear',
  'rope_linear_old_spelling',
  'rope_llama3_old_spelling',
  'rope_yarn',
  'rope_yarn_old_spelling',
];
