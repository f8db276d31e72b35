import { UsageError } from '../../shared/errors.js';
import type { Context } from '../command/context.js';
import type { RunFlags } from '../flags.js';
import { isServed } from '../session/pollers.js';
import { openSession } from '../session/server.js';
import { orderFrom, refuseCompleted, submit } from '../session/submit.js';

export async function start(this: Context, flags: RunFlags, recipe: string): Promise<void> {
  const order = await orderFrom(recipe, {
    overrides: this.overrides,
    id: flags.id ?? null,
    fresh: flags.new,
    takeOver: flags.takeOver,
  });
  await refuseCompleted(order);
  const session = await openSession((text) => void process.stderr.write(`${text}\n`));
  try {
    if (session.embedded && !(await isServed(session, session.config.taskQueue))) {
      throw new UsageError(
        'nothing would serve the run: the embedded server ends with the last command that uses it. ' +
          'Start `temper worker` first, use `temper run`, or set TEMPORAL_ADDRESS.',
      );
    }
    const handle = await submit(session, order);
    if (flags.json) {
      process.stdout.write(
        `${JSON.stringify({ run: order.id, outputDir: order.outputDir, workflowId: handle.workflowId })}\n`,
      );
    } else {
      process.stdout.write(`started '${order.id}'. Follow it with: temper watch ${order.id}\n`);
    }
  } finally {
    await session.close();
  }
}
