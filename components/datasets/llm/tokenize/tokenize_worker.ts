/** A thread of `tokenizeAll`: builds its tokenizer once, then takes one chunk after another. */
import { parentPort, workerData } from 'node:worker_threads';
import { loadInstallation } from '../../../../shared/installation.js';
import { encodeFailure } from '../../../../shared/processes/failures.js';
import type { Tokenizer } from '../../../../shared/text.js';
import { buildTokenizer } from '../documents/tokenizer_source.js';
import { type ChunkSummary, summarize, writeChunk } from './chunk_store.js';
import type { ChunkTask, TaskReply, ThreadSettings } from './thread_messages.js';
import { tokenizeChunk } from './tokenize.js';

const settings = workerData as ThreadSettings;
const port = parentPort!;

async function prepare(): Promise<Tokenizer | null> {
  await loadInstallation();
  return settings.tokenizer === null ? null : buildTokenizer(settings.tokenizer);
}

let tokenizer: Promise<Tokenizer | null> | null = null;

async function run(task: ChunkTask): Promise<ChunkSummary> {
  tokenizer ??= prepare();
  const context = {
    tokenizer: await tokenizer,
    vocabularySize: settings.vocabularySize,
    packedSequenceSize: settings.packedSequenceSize,
  };
  const begin = (row: number) => {
    Atomics.store(settings.position, 1, row);
    Atomics.add(settings.position, 0, 1);
  };
  begin(task.chunk.firstRowOfFile);
  const chunk = await tokenizeChunk(task.chunk, task.dataset, context, begin);
  await writeChunk(task.file, chunk);
  return summarize(chunk);
}

port.on('message', (task: ChunkTask) => {
  run(task).then(
    (summary) => port.postMessage({ summary } satisfies TaskReply),
    (error: unknown) => port.postMessage({ failure: encodeFailure(error) } satisfies TaskReply),
  );
});
