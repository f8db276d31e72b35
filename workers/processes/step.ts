/** A process that computes one step after another for its worker; see `activities/steps.ts`. */
import { preloadSteps, steps } from '../../activities/steps.js';
import { type StepEvent, stepCommandSchema } from '../../contracts/index.js';
import type { StepHooks } from '../../recipes/index.js';
import { emit as post, serve } from '../../shared/processes/forked_process.js';

const emit = (event: StepEvent): void => post(event);

let cancellation = new AbortController();

async function handleCommand(message: unknown): Promise<void> {
  const command = stepCommandSchema.parse(message);
  if (command.type === 'cancel') {
    cancellation.abort(new Error('the step was cancelled'));
    return;
  }
  cancellation = new AbortController();
  const hooks: StepHooks = {
    progress: (fraction, text) => emit({ type: 'progress', fraction, text }),
    signal: cancellation.signal,
  };
  // The parent has checked the request of each step by its schema.
  const compute = steps[command.step] as (
    request: unknown,
    hooks: StepHooks,
    device: string,
  ) => Promise<unknown>;
  emit({ type: 'done', result: await compute(command.request, hooks, command.device) });
}

serve(handleCommand, preloadSteps);
