import { recipeCommand } from '../command/define.js';
import { exitCodes } from '../command/exit.js';
import { type RunFlags, runFlags } from '../command/flags.js';
import { ProgressDisplay, printResult } from '../terminal/index.js';

export const run = recipeCommand<RunFlags>({
  docs: {
    brief: 'Run a recipe and follow it to its end',
    fullDescription:
      'Runs a recipe as a durable workflow and follows it. Uses the Temporal server that the environment or a profile\n' +
      'names, otherwise an embedded one; starts a worker in this process if none serves the queue.\n' +
      'Exit codes: 0 completed, 1 failed, 2 wrong usage or recipe, 75 a service is unreachable, 130 interrupted.',
  },
  flags: runFlags,
  async run(flags, recipe) {
    const { follow, InPlaceWorker, openSession, orderFrom, submitOrServe, refuseCompleted, runFailure } =
      await import('../session/index.js');
    const { onStopSignal } = await import('../../workers/index.js');
    const order = await orderFrom(recipe, {
      overrides: this.overrides,
      id: flags.id ?? null,
      fresh: flags.new,
      takeOver: flags.takeOver,
    });
    await refuseCompleted(order);
    const display = new ProgressDisplay(process.stderr);
    const stop = new AbortController();
    // Until the embedded server is released: a signal in between must not leave it behind.
    const removeHandlers = onStopSignal(() => stop.abort());
    const session = await openSession((text) => display.note(text));
    const worker = new InPlaceWorker(session, order.id, display);
    try {
      if (session.ui !== null) display.note(`Temporal UI: ${session.ui}`);
      const { handle, otherRecipe } = await submitOrServe(session, order, () => worker.serveUnlessServed());
      if (otherRecipe) {
        display.note(
          `the run '${order.id}' is already running with another recipe and continues with that one; stop it first to change it`,
        );
      }
      const result = await follow(handle, display, stop.signal).catch((error: unknown) => {
        throw runFailure(error, order.id);
      });
      if (result !== null) {
        printResult(result, flags.json);
        return;
      }
      process.exitCode = exitCodes.interrupted;
      if (!worker.serves) {
        display.note(
          `detached: the run '${order.id}' continues on its worker. Follow it with: temper watch ${order.id}`,
        );
        return;
      }
      display.note('saving a checkpoint …');
      await worker.stop();
      const command = [recipe, ...(flags.id === undefined ? [] : ['--id', flags.id])];
      const words = [...command, ...this.overrides.map((override) => `--${override}`)].map(quoted);
      display.note(`the run '${order.id}' is parked. Resume it with: temper run ${words.join(' ')}`);
    } finally {
      await worker.stop().finally(() => session.close());
      removeHandlers();
    }
  },
});

/** Quotes a word for a shell, where it needs that. */
const quoted = (word: string): string =>
  /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
