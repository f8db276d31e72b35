/** The worker that `temper run` starts in its own process when nobody else serves the run. */
import { ownPool, ownQueue } from '../../contracts/index.js';
import { runWorker, type WorkerHandle } from '../../workers/index.js';
import type { ProgressDisplay } from '../terminal/index.js';
import { isServed } from './pollers.js';
import type { Session } from './server.js';

/** ms between checks whether the process that serves the run is still there. */
const retryInterval = 3000;

/** A worker in this process for a run's own queue, as soon as no other process serves that. */
export class InPlaceWorker {
  readonly #session: Session;
  readonly #runId: string;
  readonly #display: ProgressDisplay;
  #worker: WorkerHandle | null = null;
  #stopped = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(session: Session, runId: string, display: ProgressDisplay) {
    this.#session = session;
    this.#runId = runId;
    this.#display = display;
  }

  get serves(): boolean {
    return this.#worker !== null;
  }

  /** Serves the run if nobody does; otherwise checks again from time to time. */
  async serveUnlessServed(): Promise<void> {
    if (await isServed(this.#session, ownQueue(this.#runId))) this.#retryLater();
    else await this.#serve();
  }

  #retryLater(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(
      () => void this.serveUnlessServed().catch(() => this.#retryLater()),
      retryInterval,
    );
  }

  async #serve(): Promise<void> {
    if (this.#stopped) return;
    this.#worker = await runWorker({
      role: 'all',
      devices: 'auto',
      pool: ownPool(this.#runId),
      taskQueue: ownQueue(this.#runId),
      address: this.#session.address,
      log: (text) => this.#display.note(text),
    });
    if (this.#stopped) await this.#worker.stop();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#worker?.stop();
  }
}
