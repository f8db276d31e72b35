/** The activities by the queue that serves them. */
import type {
  ControlActivities,
  GangActivities,
  PoolActivities,
  StepActivities,
} from '../contracts/index.js';
import { createAcquire } from './acquire.js';
import { type AdmitOptions, createAdmit } from './admit.js';
import { createConsolidate } from './consolidate.js';
import { createEvaluate } from './evaluate.js';
import { finishActivity } from './finish.js';
import { createGangControl } from './gang.js';
import { createPrepareData } from './prepare_data.js';
import type { RankHost } from './rank_host.js';
import { recordTimelineActivity } from './record_timeline.js';
import { createShardModel } from './shard_model.js';
import type { StepRunner } from './step.js';
import { createTrainEpoch } from './train_epoch.js';

export type { AdmitOptions } from './admit.js';
export type { ProgressListener, RankHost } from './rank_host.js';
export { ProcessCrashed, type StepRunner } from './step.js';

/** @param compute runs a step in a process of its own */
export function controlActivities(options: AdmitOptions, compute: StepRunner): ControlActivities {
  return { ...createAdmit(options, compute), ...recordTimelineActivity, ...finishActivity };
}

/** @param compute runs a step in a process of its own */
export function stepActivities(compute: StepRunner): StepActivities {
  return {
    ...createPrepareData(compute),
    ...createShardModel(compute),
    ...createEvaluate(compute),
    ...createConsolidate(compute),
  };
}

export function poolActivities(host: RankHost): PoolActivities {
  return createAcquire(host);
}

export function gangActivities(host: RankHost): GangActivities {
  return { ...createTrainEpoch(host), ...createGangControl(host) };
}
