/** The control worker: workflows, and the activities that take a moment. */
import { existsSync } from 'node:fs';
import { controlActivities } from '../activities/index.js';
import { TemperError } from '../shared/errors.js';
import { resolveRoots } from '../shared/storage/roots.js';
import type { TemperConfig } from './config.js';
import type { Connected } from './connection.js';
import { registerSearchAttributes } from './search_attributes.js';
import { ServedWorker } from './served_worker.js';
import { workflowBundle } from './workflow_bundle.js';

export async function startControl(
  connected: Connected,
  config: TemperConfig,
  { taskQueue, log }: { taskQueue: string | null; log: (text: string) => void },
): Promise<ServedWorker> {
  if (!existsSync(workflowBundle)) {
    throw new TemperError('SetupError', `${workflowBundle} is missing: run 'npm run setup'`);
  }
  const searchAttributes = await registerSearchAttributes(connected);
  const { roots } = resolveRoots(config.storageRoots);
  return await ServedWorker.start(
    {
      connection: connected.connection,
      namespace: connected.namespace,
      taskQueue: taskQueue ?? config.taskQueue,
      workflowBundle: { codePath: workflowBundle },
      activities: { ...controlActivities({ roots, searchAttributes, server: connected }) },
      maxCachedWorkflows: config.worker.maxCachedWorkflows,
    },
    log,
  );
}
