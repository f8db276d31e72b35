/**
 * A rank's process: holds the engine and does what its host worker says over the IPC channel. It dies with its parent,
 * at once and whatever it is doing: the commit log makes that harmless.
 */
import { type RankCommand, type RankEvent, rankCommandSchema } from '../contracts/index.js';
import { createTrainer, type Trainer } from '../recipes/index.js';
import { TemperError } from '../shared/errors.js';
import { liveForParent } from '../shared/forked_process.js';
import { loadConfig } from './installed_config.js';

type ControlAction = Extract<RankCommand, { type: 'control' }>['action'];

let trainer: Trainer | null = null;
/** What the operator registered, read while nobody waits for it; an error is told when a run asks. */
const registered = loadConfig().then((config) => config.register());
registered.catch(() => undefined);
/** Wishes that came while the trainer was loading. */
const early: ControlAction[] = [];

function emit(event: RankEvent): void {
  process.send?.(event);
}

async function obey(command: RankCommand): Promise<void> {
  switch (command.type) {
    case 'start':
      await registered;
      trainer = await createTrainer(command, emit);
      for (const action of early.splice(0)) trainer.control(action);
      emit({ type: 'ready' });
      return;
    case 'train':
      if (trainer === null) throw new TypeError("'train' came before 'start' was done");
      emit({ type: 'outcome', outcome: await trainer.train(command.epoch) });
      return;
    case 'control':
      if (trainer === null) early.push(command.action);
      else trainer.control(command.action);
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
