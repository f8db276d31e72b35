import { WorkflowNotFoundError } from '@temporalio/client';
import { UsageError } from '../../shared/errors.js';
import { onStopSignal } from '../../workers/index.js';
import type { Context } from '../command/context.js';
import { exitCodes } from '../command/exit.js';
import { runFailure } from '../session/failure.js';
import type { WatchFlags } from '../flags.js';
import { follow } from '../session/follow.js';
import { ProgressDisplay } from '../terminal/progress.js';
import { printResult } from '../terminal/result.js';
import { openSession } from '../session/server.js';

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
