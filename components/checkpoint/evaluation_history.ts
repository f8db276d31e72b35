/** `<run>/evaluation/history.json`: the scores of a run's models, and the steps whose commits retention keeps. */
import {
  type EvaluationHistory,
  evaluationHistoryKey,
  evaluationHistorySchema,
} from '../../contracts/index.js';
import { CheckpointError } from '../../shared/errors.js';
import { readDocument, type Storage } from '../../shared/storage/index.js';

/** @throws CheckpointError when the file is not one that we know, or too long to be one */
export async function readHistory(storage: Storage): Promise<EvaluationHistory> {
  const bytes = await readDocument(storage, evaluationHistoryKey);
  if (bytes === null) return { version: 1, entries: [], keep: [] };
  let value: unknown;
  try {
    value = typeof bytes === 'string' ? null : JSON.parse(bytes.toString('utf8'));
  } catch {
    value = null;
  }
  const result = evaluationHistorySchema.safeParse(value);
  if (result.success) return result.data;
  throw new CheckpointError(
    `${storage.uri}/${evaluationHistoryKey}: ${typeof bytes === 'string' ? bytes : 'damaged, or of another version'}; delete it, and scores are rebuilt from the results next to it`,
  );
}

export async function writeHistory(storage: Storage, history: EvaluationHistory): Promise<void> {
  await storage.write(evaluationHistoryKey, Buffer.from(`${JSON.stringify(history, null, 2)}\n`));
}
