import { recipeCommand } from '../command/define.js';
import { type RunFlags, runFlags } from '../command/flags.js';

export const start = recipeCommand<RunFlags>({
  docs: { brief: 'Start a recipe and return at once' },
  flags: runFlags,
  async run({ json, new: fresh, takeOver, id = null }, recipe) {
    const { isServed, openSession, orderFrom, refuseCompleted, submit } = await import('../session/index.js');
    const { UsageError } = await import('../../shared/errors.js');
    const order = await orderFrom(recipe, { overrides: this.overrides, id, fresh, takeOver });
    await refuseCompleted(order);
    const session = await openSession((text) => void process.stderr.write(`${text}\n`));
    try {
      if (session.embedded && !(await isServed(session, session.config.taskQueue))) {
        throw new UsageError(
          'no worker would serve the run: the embedded server stops with the last command that uses it. ' +
            'Start `temper worker` first, use `temper run`, or set TEMPORAL_ADDRESS.',
        );
      }
      const { workflowId } = await submit(session, order);
      const { outputDir } = order;
      if (json) process.stdout.write(`${JSON.stringify({ run: order.id, outputDir, workflowId })}\n`);
      else process.stdout.write(`started '${order.id}'. Follow it with: temper watch ${order.id}\n`);
    } finally {
      await session.close();
    }
  },
});
