import { type Connected, workerState } from '../../workers/index.js';

/** Workers poll again at least this often, in ms. */
const pollInterval = 65_000;
/** temporal.api.enums.v1.TaskQueueType */
const workflowTasks = 1;

/** Returns whether a worker serves the queue's workflow tasks. The server lists workers for minutes after their end. */
export async function isServed({ client, namespace }: Connected, taskQueue: string): Promise<boolean> {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: workflowTasks,
  });
  return (pollers ?? []).some(({ lastAccessTime, identity }) => {
    const age = Date.now() - Number(lastAccessTime?.seconds ?? 0) * 1000;
    return age < pollInterval && workerState(identity ?? '') !== 'gone';
  });
}
