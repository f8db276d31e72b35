import { onStopSignal, runWorker } from '../../workers/index.js';
import type { Context } from '../context.js';
import type { WorkerFlags } from '../flags.js';
import { openSession } from '../server.js';

export async function worker(this: Context, flags: WorkerFlags): Promise<void> {
  const session = await openSession();
  try {
    const log = (text: string) => void process.stderr.write(`${text}\n`);
    const handle = await runWorker({ ...flags, taskQueue: null, address: session.address, log });
    log(
      `serving ${flags.role} at ${handle.address} (namespace '${handle.namespace}')` +
        `${handle.queue === null ? '' : ` as ${handle.queue}`}; end with Ctrl-C or SIGTERM`,
    );
    await new Promise<void>((resolve) => {
      onStopSignal((signal) => {
        log(`${signal}: ranks save and make way, tasks under way finish`);
        void handle.stop().then(resolve);
      });
    });
  } finally {
    await session.close();
  }
  // A rank that SIGKILL does not end would keep this process for as long as it is there.
  process.exit();
}
