import type { Connected } from './connection.js';

/** temporal.api.enums.v1.TaskQueueType */
const activityTasks = 2;

/** ms since a worker's last poll from which it counts as gone: a poll lasts a minute when there is nothing to do. */
const pollLimit = 70_000;

/** Returns whether a worker other than `identity` polls a queue of activities. */
export async function othersPoll(
  { client, namespace }: Connected,
  queue: string,
  identity: string,
): Promise<boolean> {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: queue },
    taskQueueType: activityTasks,
  });
  return (pollers ?? []).some(
    (poller) =>
      poller.identity !== identity &&
      Date.now() - Number(poller.lastAccessTime?.seconds ?? 0) * 1000 < pollLimit,
  );
}
