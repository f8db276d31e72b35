import { WorkflowNotFoundError } from '@temporalio/client';
import { UsageError } from '../../shared/errors.js';
import { onStopSignal } from '../../workers/index.js';
import type { Context } from '../context.js';
import { exitCodes } from '../exit.js';
import { runFailure } from '../failure.js';
import type { WatchFlags } from '../flags.js';
import { follow } from '../follow.js';
import { ProgressDisplay } from '../progress.js';
import { printResult } from '../result.js';
import { openSession } from '../server.js';

export async function watch(this: Context, flags: WatchFlags, id: string): Promise<void> {
  const stop = new AbortController();
  const forget = onStopSignal(() => stop.abort());
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
    else printResult(result, flags.json);
  } finally {
    await session.close();
    forget();
  }
}
