import { onStopSignal, runWorker, type StopSignal } from '../../workers/index.js';
import type { Context } from '../command/context.js';
import { exitCodes } from '../command/exit.js';
import type { WorkerFlags } from '../flags.js';
import { openSession } from '../session/server.js';

export async function worker(this: Context, flags: WorkerFlags): Promise<void> {
  const log = (text: string) => void process.stderr.write(`${text}\n`);
  // From the first moment: a signal that comes while it starts must not leave an embedded server behind.
  const stopped = new Promise<StopSignal>((resolve) => {
    onStopSignal(resolve);
  });
  const session = await openSession(log);
  try {
    const handle = await runWorker({
      ...flags,
      pool: flags.pool ?? null,
      taskQueue: null,
      address: session.address,
      log,
    });
    log(
      `serving ${flags.role} at ${handle.address} (namespace '${handle.namespace}')` +
        `${handle.queue === null ? '' : ` as ${handle.queue}`}; end with Ctrl-C or SIGTERM`,
    );
    const signal = await stopped;
    log(`${signal}: ranks save and make way, tasks under way finish`);
    await handle.stop();
    if (signal === 'SIGUSR2') process.exitCode = exitCodes.requeue;
  } finally {
    await session.close();
  }
  // A rank that SIGKILL does not end would keep this process for as long as it is there.
  process.exit();
}
