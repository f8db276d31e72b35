/**
 * A rank's process: holds the engine and carries out the commands of its host worker. It ends with its parent, at once
 * and whatever it is doing: the commit log makes that harmless.
 */
import { type RankCommand, type RankEvent, rankCommandSchema } from '../../contracts/index.js';
import { DeviceLost } from '../../engine/index.js';
import { Control, createTrainer, type Trainer } from '../../recipes/index.js';
import { emit, serve } from '../../shared/processes/forked_process.js';

/** There before the trainer is, so that requests which come while it loads need no queue. */
const control = new Control();
let trainer: Trainer | null = null;

const emitEvent = (event: RankEvent): void => emit(event);

async function handleCommand(command: RankCommand): Promise<void> {
  switch (command.type) {
    case 'start':
      control.apply(command.requests);
      trainer = await createTrainer(command, control, emitEvent);
      emitEvent({ type: 'ready' });
      return;
    case 'train':
      if (trainer === null) throw new TypeError("'train' arrived before 'start' was complete");
      emitEvent({ type: 'outcome', outcome: await trainer.train(command.epoch) });
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

/** Ends a process whose device is lost, like one that crashed: another process takes its place. */
function endIfDeviceLost(error: unknown): never {
  if (!(error instanceof DeviceLost)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}

serve((message) => handleCommand(rankCommandSchema.parse(message)).catch(endIfDeviceLost));
