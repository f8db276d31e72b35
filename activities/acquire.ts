/** Takes a slot of this host for a run. The task waits on the pool's queue until a host with a free slot polls it. */
import {
  type AcquireRequest,
  acquireRequestSchema,
  type Grant,
  type PoolActivities,
} from '../contracts/index.js';
import type { RankHost } from './rank_host.js';
import { runBriefly } from './step.js';

export function createAcquire(host: RankHost): PoolActivities {
  return {
    acquire: (request: AcquireRequest): Promise<Grant> =>
      runBriefly(() => host.reserve(acquireRequestSchema.parse(request))),
  };
}
