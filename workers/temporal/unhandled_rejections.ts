/** Handles promises that are rejected while nobody waits for them: a defect that one activity causes. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { ApplicationFailure } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';

/** Fails the activity in whose course a promise was made. */
const failActivity = new AsyncLocalStorage<(failure: ApplicationFailure) => void>();

/** Has an activity fail when something that it began is rejected and nobody handles that. */
export const attributeRejections: ActivityInterceptorsFactory = () => ({
  inbound: {
    execute: (input, next) =>
      new Promise((resolve, reject) => {
        failActivity.run(reject, () => next(input).then(resolve, reject));
      }),
  },
});

let handled = false;

/**
 * Logs such a rejection and fails its activity. The worker continues: activities of other runs have no part in it, and
 * Node.js would end the process with all of them.
 */
export function handleUnhandledRejections(log: (text: string) => void): void {
  if (handled) return;
  handled = true;
  process.on('unhandledRejection', (reason) => {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    log(`unhandled promise rejection: ${error.stack ?? error.message}`);
    const failure = { message: error.message, type: error.name, nonRetryable: true, cause: error };
    failActivity.getStore()?.(ApplicationFailure.create(failure));
  });
}
