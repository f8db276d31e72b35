/** The control worker: workflows, and the short activities. */
import { existsSync } from 'node:fs';
import { controlActivities } from '../../activities/index.js';
import { TemperError } from '../../shared/errors.js';
import type { TemperConfig } from '../../shared/installation.js';
import { resolveRoots } from '../../shared/storage/roots.js';
import type { StepProcesses } from '../processes/step_processes.js';
import type { Connected } from '../temporal/connection.js';
import { registerSearchAttributes } from '../temporal/search_attributes.js';
import { ServedWorker } from '../temporal/served_worker.js';
import { attributeRejections } from '../temporal/unhandled_rejections.js';
import { workflowBundle } from './workflow_bundle.js';

export async function startControl(
  connected: Connected,
  config: TemperConfig,
  steps: StepProcesses,
  { taskQueue, log }: { taskQueue: string | null; log: (text: string) => void },
): Promise<ServedWorker> {
  if (!existsSync(workflowBundle)) {
    throw new TemperError('SetupError', `${workflowBundle} is missing: run 'npm run setup'`);
  }
  const searchAttributes = await registerSearchAttributes(connected);
  const { roots } = resolveRoots(config.storageRoots);
  const { address, namespaceId } = connected;
  return await ServedWorker.start(
    {
      connection: connected.connection,
      namespace: connected.namespace,
      taskQueue: taskQueue ?? config.taskQueue,
      workflowBundle: { codePath: workflowBundle },
      activities: {
        ...controlActivities({ roots, searchAttributes, server: { address, namespaceId } }, steps.run),
      },
      interceptors: { activity: [attributeRejections] },
      maxCachedWorkflows: config.worker.maxCachedWorkflows,
    },
    log,
  );
}
