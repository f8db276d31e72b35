import { hostname } from 'node:os';
import type { Connected } from '../workers/index.js';

/** Workers poll anew at least this often, in ms. */
const pollInterval = 65_000;
/** temporal.api.enums.v1.TaskQueueType */
const workflowTasks = 1;

/** Whether a living worker serves the queue's workflow tasks. The server lists workers for minutes after their end. */
export async function isServed({ client, namespace }: Connected, taskQueue: string): Promise<boolean> {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: workflowTasks,
  });
  return (pollers ?? []).some(({ lastAccessTime, identity }) => {
    const age = Date.now() - Number(lastAccessTime?.seconds ?? 0) * 1000;
    return age < pollInterval && !isDeadHere(identity ?? '');
  });
}

/** Whether a worker's identity, `<pid>@<host>`, names a process of this host that is gone. */
function isDeadHere(identity: string): boolean {
  const [, pid, host] = /^(\d+)@(.+)$/.exec(identity) ?? [];
  if (pid === undefined || host !== hostname()) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
