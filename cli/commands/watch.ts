import { command } from '../command/define.js';
import { exitCodes } from '../command/exit.js';
import { jsonFlag } from '../command/flags.js';
import { ProgressDisplay, printResult } from '../terminal/index.js';

export const watch = command<{ json: boolean }, [run: string]>(
  {
    docs: { brief: 'Follow a run that was started elsewhere' },
    flags: { json: jsonFlag },
    async run({ json }, id) {
      const { WorkflowNotFoundError } = await import('@temporalio/client');
      const { follow, openSession, runFailure } = await import('../session/index.js');
      const { onStopSignal } = await import('../../workers/index.js');
      const { UsageError } = await import('../../shared/errors.js');
      const stop = new AbortController();
      const removeHandlers = onStopSignal(() => stop.abort());
      const display = new ProgressDisplay(process.stderr);
      const session = await openSession((text) => display.note(text));
      try {
        const handle = session.client.workflow.getHandle(id);
        await handle.describe().catch((error: unknown) => {
          if (error instanceof WorkflowNotFoundError)
            throw new UsageError(`there is no run '${id}' at ${session.address}`);
          throw error;
        });
        const result = await follow(handle, display, stop.signal).catch((error: unknown) => {
          throw runFailure(error, id);
        });
        if (result === null) process.exitCode = exitCodes.interrupted;
        else printResult(result, json);
      } finally {
        await session.close();
        removeHandlers();
      }
    },
  },
  { brief: 'workflow id of the run', placeholder: 'RUN' },
);
