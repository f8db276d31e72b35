/**
 * A rank's process: holds the engine and does what its host worker says over the IPC channel. It dies with its parent,
 * at once and whatever it is doing: the commit log makes that harmless.
 */
import { type RankCommand, type RankEvent, rankCommandSchema } from '../contracts/index.js';
import { Control, createTrainer, type Trainer } from '../recipes/index.js';
import { TemperError } from '../shared/errors.js';
import { liveForParent } from '../shared/forked_process.js';
import { loadConfig } from './installed_config.js';

/** There before the trainer is, so that requests which come while it loads need no queue. */
const control = new Control();
let trainer: Trainer | null = null;
/** What the operator registered, read while nobody waits for it; an error is told when a run asks. */
const registered = loadConfig().then((config) => config.register());
registered.catch(() => undefined);

function emit(event: RankEvent): void {
  process.send?.(event);
}

async function obey(command: RankCommand): Promise<void> {
  switch (command.type) {
    case 'start':
      control.apply(command.requests);
      await registered;
      trainer = await createTrainer(command, control, emit);
      emit({ type: 'ready' });
      return;
    case 'train':
      if (trainer === null) throw new TypeError("'train' came before 'start' was done");
      emit({ type: 'outcome', outcome: await trainer.train(command.epoch) });
      return;
    case 'requests':
      control.apply(command.requests);
      return;
    case 'preempt':
      control.preempt();
      return;
    case 'exit':
      await trainer?.close();
      process.exit(0);
  }
}

/** Tells the parent why, and ends: after an error the engine's state is not to be trusted. */
function fail(error: unknown): void {
  const event: RankEvent = {
    type: 'failed',
    code: error instanceof TemperError ? error.code : error instanceof Error ? error.name : 'Error',
    message: error instanceof Error ? error.message : String(error),
    stack: error instanceof Error ? (error.stack ?? null) : null,
  };
  process.send?.(event, () => process.exit(1));
}

liveForParent();
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);
process.on('message', (message) => {
  Promise.resolve()
    .then(() => obey(rankCommandSchema.parse(message)))
    .catch(fail);
});
