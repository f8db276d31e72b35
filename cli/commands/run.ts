import { ownPool, ownQueue } from '../../contracts/index.js';
import { onStopSignal, runWorker, type WorkerHandle } from '../../workers/index.js';
import type { Context } from '../command/context.js';
import { exitCodes } from '../command/exit.js';
import { runFailure } from '../session/failure.js';
import type { RunFlags } from '../flags.js';
import { follow } from '../session/follow.js';
import { isServed } from '../session/pollers.js';
import { ProgressDisplay } from '../terminal/progress.js';
import { printResult } from '../terminal/result.js';
import { openSession, type Session } from '../session/server.js';
import { orderFrom, place, refuseCompleted } from '../session/submit.js';

export async function run(this: Context, flags: RunFlags, recipe: string): Promise<void> {
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
  const forget = onStopSignal(() => stop.abort());
  const session = await openSession((text) => display.note(text));
  const service = new Service(session, order.id, display);
  try {
    if (session.ui !== null) display.note(`Temporal UI: ${session.ui}`);
    const { handle, otherRecipe } = await place(session, order, () => service.look());
    if (otherRecipe) {
      display.note(
        `the run '${order.id}' is under way with another recipe, and goes on with that one; stop it first to change it`,
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
    if (!service.serves) {
      display.note(
        `detached: the run '${order.id}' goes on where its worker is. Follow it with: temper watch ${order.id}`,
      );
      return;
    }
    display.note('saving a checkpoint …');
    await service.stop();
    const again = [
      'temper run',
      recipe,
      ...(flags.id === undefined ? [] : ['--id', flags.id]),
      ...this.overrides.map((override) => `--${override}`),
    ];
    display.note(`the run '${order.id}' is parked. Go on with: ${again.map(quoted).join(' ')}`);
  } finally {
    await service.stop().finally(() => session.close());
    forget();
  }
}

/** ms between looks whether the process that serves the run is still there. */
const lookInterval = 3000;

/** A worker in this process for a run's own queue, as soon as no other process serves that. */
class Service {
  private worker: WorkerHandle | null = null;
  private stopped = false;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly session: Session,
    private readonly run: string,
    private readonly display: ProgressDisplay,
  ) {}

  get serves(): boolean {
    return this.worker !== null;
  }

  /** Serves where nobody does; otherwise looks again from time to time. */
  async look(): Promise<void> {
    if (await isServed(this.session, ownQueue(this.run))) this.lookLater();
    else await this.serve();
  }

  private lookLater(): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => void this.look().catch(() => this.lookLater()), lookInterval);
  }

  private async serve(): Promise<void> {
    if (this.stopped) return;
    this.worker = await runWorker({
      role: 'all',
      devices: 'auto',
      pool: ownPool(this.run),
      taskQueue: ownQueue(this.run),
      address: this.session.address,
      log: (text) => this.display.note(text),
    });
    if (this.stopped) await this.worker.stop();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.worker?.stop();
  }
}

const quoted = (word: string): string =>
  /^[\w./:=@%+,-]+$/.test(word) || word === 'temper run' ? word : `'${word.replaceAll("'", "'\\''")}'`;
