/** A worker thread of `TokenisePool`: builds its tokenizer once, then takes one chunk after another. */
import { parentPort, workerData } from 'node:worker_threads';
import { TemperError } from '../../../shared/errors.js';
import { writeChunk } from './chunk_store.js';
import { tokeniseChunk } from './tokenise.js';
import type { ChunkTask, PoolSettings, TaskResult } from './tokenise_pool.js';
import { buildTokenizer, type Tokenizer } from './tokenizer.js';

const settings = workerData as PoolSettings;
const port = parentPort!;

async function prepare(): Promise<Tokenizer | null> {
  for (const extension of settings.extensions) await import(extension);
  return settings.tokenizer === null ? null : buildTokenizer(settings.tokenizer);
}

let tokenizer: Promise<Tokenizer | null> | null = null;

async function run(task: ChunkTask): Promise<TaskResult> {
  tokenizer ??= prepare();
  const context = {
    tokenizer: await tokenizer,
    vocabularySize: settings.vocabularySize,
    packedSequenceSize: settings.packedSequenceSize,
  };
  const chunk = await tokeniseChunk(task.chunk, task.dataset, context);
  await writeChunk(task.file, chunk);
  const tokens = chunk.documents.reduce((sum, { ids }) => sum + ids.length, 0);
  return { documents: chunk.documents.length, tokens };
}

port.on('message', (task: ChunkTask) => {
  run(task).then(
    (result) => port.postMessage({ result }),
    (error: unknown) => {
      const code = error instanceof TemperError ? error.code : null;
      port.postMessage({
        failure: { code, message: error instanceof Error ? error.message : String(error) },
      });
    },
  );
});
