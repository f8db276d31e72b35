/** The activities by the queue that serves them. */
import type {
  ControlActivities,
  GangActivities,
  PoolActivities,
  StepActivities,
} from '../contracts/index.js';
import type { JobRunner } from '../recipes/index.js';
import { createAcquire } from './acquire.js';
import { type AdmitOptions, createAdmit } from './admit.js';
import { consolidateActivity } from './consolidate.js';
import { createEvaluate } from './evaluate.js';
import { finishActivity } from './finish.js';
import { createGangControl } from './gang.js';
import { prepareDataActivity } from './prepare_data.js';
import type { RankHost } from './rank_host.js';
import { recordTimelineActivity } from './record_timeline.js';
import { shardModelActivity } from './shard_model.js';
import { createTrainEpoch } from './train_epoch.js';

export type { AdmitOptions } from './admit.js';
export type { ProgressListener, RankHost } from './rank_host.js';

export function controlActivities(options: AdmitOptions): ControlActivities {
  return { ...createAdmit(options), ...recordTimelineActivity, ...finishActivity };
}

/** @param evaluator computes tasks, in a process of its own */
export function stepActivities(evaluator: JobRunner): StepActivities {
  return {
    ...prepareDataActivity,
    ...shardModelActivity,
    ...createEvaluate(evaluator),
    ...consolidateActivity,
  };
}

export function poolActivities(host: RankHost): PoolActivities {
  return createAcquire(host);
}

export function gangActivities(host: RankHost): GangActivities {
  return { ...createTrainEpoch(host), ...createGangControl(host) };
}
