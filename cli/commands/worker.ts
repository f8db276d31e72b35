import type { StopSignal } from '../../workers/index.js';
import { command } from '../command/define.js';
import { exitCodes } from '../command/exit.js';
import { optionalText } from '../command/flags.js';

interface Flags {
  role: 'all' | 'control' | 'host';
  devices: string;
  pool?: string;
}

export const worker = command<Flags>({
  docs: { brief: 'Serve workflows and training until SIGTERM' },
  flags: {
    role: { kind: 'enum', values: ['all', 'control', 'host'], brief: 'what to serve', default: 'all' },
    devices: {
      kind: 'parsed',
      parse: String,
      brief: 'auto, or cpu:N for N ranks on the CPU',
      default: 'auto',
    },
    pool: optionalText('pool that this host belongs to (default: the one in temporal.config.ts)'),
  },
  async run({ role, devices, pool = null }) {
    const { openSession } = await import('../session/index.js');
    const { onStopSignal, runWorker } = await import('../../workers/index.js');
    const log = (text: string) => void process.stderr.write(`${text}\n`);
    // From the first moment: a signal that comes while it starts must not leave an embedded server behind.
    const stopped = new Promise<StopSignal>((resolve) => {
      onStopSignal(resolve);
    });
    const session = await openSession(log);
    try {
      const handle = await runWorker({
        role,
        devices,
        pool,
        taskQueue: null,
        address: session.address,
        log,
      });
      log(
        `serving ${role} at ${handle.address} (namespace '${handle.namespace}')` +
          `${handle.queue === null ? '' : ` as ${handle.queue}`}; stop with Ctrl-C or SIGTERM`,
      );
      const signal = await stopped;
      log(`${signal}: ranks save and stop, and tasks in progress finish`);
      await handle.stop();
      if (signal === 'SIGUSR2') process.exitCode = exitCodes.requeue;
    } finally {
      await session.close();
    }
    // A rank that SIGKILL does not end would keep this process for as long as it is there.
    process.exit();
  },
});
