/** The short activities on a host's own queue: they reach the ranks while `trainEpoch` runs. */
import {
  type ControlMessage,
  controlMessageSchema,
  type GangActivities,
  type Grant,
  grantSchema,
  type Released,
} from '../contracts/index.js';
import type { RankHost } from './rank_host.js';
import { runBriefly } from './step.js';

export function createGangControl(host: RankHost): Pick<GangActivities, 'control' | 'detach' | 'release'> {
  return {
    control: (message: ControlMessage): Promise<void> =>
      runBriefly(async () => host.control(controlMessageSchema.parse(message))),
    detach: (grant: Grant): Promise<void> => runBriefly(async () => host.detach(grantSchema.parse(grant))),
    release: (grant: Grant): Promise<Released> =>
      runBriefly(async () => ({ torn: await host.release(grantSchema.parse(grant)) })),
  };
}
