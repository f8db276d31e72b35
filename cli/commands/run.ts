import { onStopSignal, runWorker, type WorkerHandle } from '../../workers/index.js';
import type { RunFlags } from '../commands.js';
import type { Context } from '../context.js';
import { exitCodes } from '../exit.js';
import { runFailure } from '../failure.js';
import { follow } from '../follow.js';
import { isServed } from '../pollers.js';
import { ProgressDisplay } from '../progress.js';
import { printResult } from '../result.js';
import { openSession, type Session } from '../server.js';
import { orderFrom, refuseCompleted, submit } from '../submit.js';

export async function run(this: Context, flags: RunFlags, recipe: string): Promise<void> {
  const order = await orderFrom(recipe, {
    overrides: this.overrides,
    id: flags.id ?? null,
    fresh: flags.new,
  });
  await refuseCompleted(order);
  const session = await openSession();
  const display = new ProgressDisplay(process.stderr);
  const stop = new AbortController();
  const forget = onStopSignal(() => stop.abort());
  let worker: WorkerHandle | null = null;
  try {
    const handle = await submit(session, order);
    if (session.ui !== null) display.note(`Temporal UI: ${session.ui}`);
    if (!(await isServed(session, session.config.taskQueue))) worker = await serve(session, display);
    const result = await follow(handle, display, stop.signal).catch((error: unknown) => {
      throw runFailure(error, order.id);
    });
    if (result !== null) {
      printResult(result, flags.json);
      return;
    }
    process.exitCode = exitCodes.interrupted;
    if (worker !== null) display.note('saving a checkpoint …');
    await worker?.stop();
    const again = `temper run ${recipe}`;
    display.note(
      worker === null
        ? `detached: the run '${order.id}' goes on where its worker is. Follow it with: temper watch ${order.id}`
        : `the run '${order.id}' is parked. Go on with: ${again}`,
    );
  } finally {
    forget();
    await worker?.stop();
    await session.close();
  }
}

function serve(session: Session, display: ProgressDisplay): Promise<WorkerHandle> {
  return runWorker({
    role: 'all',
    devices: 'auto',
    pool: null,
    address: session.address,
    log: (text) => display.note(text),
  });
}
