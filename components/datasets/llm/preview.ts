/** Sample rows as the model will see them: template applied, and what is trained on marked. */

import type { Tokenizer } from '../../../shared/text.js';
import type { Document } from './documents/document.js';
import { ignored } from './documents/document.js';
import { planChunks, planSource } from './tokenize/plan_chunks.js';
import { tokenizeChunk } from './tokenize/tokenize.js';
import { type Dataset, isMixture, type SingleDataset } from './types/schema.js';

export interface Preview {
  /** Index of the dataset in a mixture; 0 otherwise. */
  source: number;
  text: string;
  tokens: number;
  supervised: number;
}

export interface PreviewOptions {
  dataset: Dataset;
  /** Needed to show text; without one, token ids are shown. */
  tokenizer: Tokenizer | null;
  vocabularySize: number | null;
  packedSequenceSize: number;
  /** Documents to show of each dataset. */
  count: number;
  /** ANSI colors; otherwise what is trained on is in ⟦brackets⟧. */
  color: boolean;
}

/**
 * Returns the first documents of each dataset, after cutting to packed_sequence_size and dropping, exactly as they are
 * trained on.
 */
export async function previewDataset(options: PreviewOptions): Promise<Preview[]> {
  const { dataset } = options;
  const singles = isMixture(dataset) ? dataset.datasets.map((part) => part.dataset) : [dataset];
  const previews: Preview[] = [];
  for (const [source, single] of (singles as SingleDataset[]).entries()) {
    for (const document of await firstDocuments(single, options)) {
      const supervised = document.labels.reduce((sum, value) => sum + (value === ignored ? 0 : 1), 0);
      const text = renderDocument(document, options.tokenizer, options.color);
      previews.push({ source, text, tokens: document.ids.length, supervised });
    }
  }
  return previews;
}

async function firstDocuments(dataset: SingleDataset, options: PreviewOptions): Promise<Document[]> {
  const documents: Document[] = [];
  for await (const chunk of planChunks(await planSource(dataset, 1))) {
    documents.push(...(await tokenizeChunk(chunk, dataset, options)).documents);
    if (documents.length >= options.count) break;
  }
  return documents.slice(0, options.count);
}

const dim = '\u001b[2m';
const green = '\u001b[32m';
const reset = '\u001b[0m';

/** Returns a document's text, run by run: trained on in green (or ⟦brackets⟧), the rest dimmed (or plain). */
export function renderDocument(
  { ids, labels }: Document,
  tokenizer: Tokenizer | null,
  color: boolean,
): string {
  let text = '';
  for (let start = 0; start < ids.length; ) {
    const trained = labels[start] !== ignored;
    let end = start + 1;
    while (end < ids.length && (labels[end] !== ignored) === trained) end += 1;
    const run = [...ids.subarray(start, end)];
    const runText = tokenizer === null ? `${run.join(' ')} ` : printable(tokenizer.decode(run));
    if (color) text += `${trained ? green : dim}${runText}${reset}`;
    else text += trained ? `⟦${runText}⟧` : runText;
    start = end;
  }
  return text;
}

/** Escapes control characters, which would act on the terminal. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}
