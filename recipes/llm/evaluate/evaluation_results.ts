/** Results of tasks in a run's folder, by model, task and shard. Whoever finds one there need not compute it. */
import type { ExampleResult } from '../../../components/evaluation/index.js';
import { resultShardSchema } from '../../../contracts/index.js';
import type { Storage } from '../../../shared/storage/index.js';
import { type PreparedTask, type ShardStore, shardsOf } from './evaluate_tasks.js';

/** The folder of a task's results: the digest of its examples and options is part of the name. */
export const taskFolder = (results: string, { name, digest }: PreparedTask): string =>
  `${results}/${name}-${digest.slice(0, 12)}`;

/** The shards of one task on one model. One that cannot be read counts as absent. */
export function storedShards(storage: Storage, folder: string): ShardStore {
  const key = (shard: number) => `${folder}/shard-${String(shard).padStart(5, '0')}.json`;
  return {
    async read(shard) {
      if ((await storage.size(key(shard))) === null) return null;
      try {
        return resultShardSchema.parse(JSON.parse((await storage.read(key(shard))).toString('utf8'))).results;
      } catch (error) {
        if (error instanceof SyntaxError || (error as Error).name === 'ZodError') return null;
        throw error;
      }
    },
    async write(shard, results) {
      await storage.write(key(shard), Buffer.from(JSON.stringify({ version: 1, results })));
    },
  };
}

/** All results of a task, or null while shards are missing. */
export async function readResults(task: PreparedTask, store: ShardStore): Promise<ExampleResult[] | null> {
  const results: ExampleResult[] = [];
  for (let shard = 0; shard < shardsOf(task); shard += 1) {
    const own = await store.read(shard);
    if (own === null) return null;
    results.push(...own);
  }
  return results;
}
