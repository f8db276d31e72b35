/** Results of tasks in a run's folder, by model, task and part. A part that is there need not be computed again. */
import type { ExampleResult } from '../../../components/evaluation/index.js';
import { resultPartSchema } from '../../../contracts/index.js';
import type { Storage } from '../../../shared/storage/index.js';
import { countParts, type PartStore, type PreparedTask } from './evaluate_tasks.js';

/** Returns the folder of a task's results: the digest of its examples and options is part of the name. */
export const taskFolder = (results: string, { name, digest }: PreparedTask): string =>
  `${results}/${name}-${digest.slice(0, 12)}`;

/** Returns the store of the parts of one task on one model. One that cannot be read counts as absent. */
export function storedParts(storage: Storage, folder: string): PartStore {
  const key = (part: number) => `${folder}/shard-${String(part).padStart(5, '0')}.json`;
  return {
    async read(part) {
      if ((await storage.size(key(part))) === null) return null;
      try {
        return resultPartSchema.parse(JSON.parse((await storage.read(key(part))).toString('utf8'))).results;
      } catch (error) {
        if (error instanceof SyntaxError || (error as Error).name === 'ZodError') return null;
        throw error;
      }
    },
    async write(part, results) {
      await storage.write(key(part), Buffer.from(JSON.stringify({ version: 1, results })));
    },
  };
}

/** Returns all results of a task, or null while parts are missing. */
export async function readResults(task: PreparedTask, store: PartStore): Promise<ExampleResult[] | null> {
  const results: ExampleResult[] = [];
  for (let part = 0; part < countParts(task); part += 1) {
    const partResults = await store.read(part);
    if (partResults === null) return null;
    results.push(...partResults);
  }
  return results;
}
