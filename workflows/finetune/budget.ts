/**
 * The failures that a run survives. Each cause has a budget of its own, which is renewed when the run gets ahead: by a commit, or by a
 * step that is done. Preemptions, lost hosts, lost peers and the wait for a slot have none.
 */
import { ApplicationFailure } from '@temporalio/workflow';
import type { CrashDetails } from '../../contracts/activities.js';
import { failureTypes } from '../../contracts/names.js';
import type { Budget } from '../../contracts/run_state.js';
import type { Cause } from './failures.js';

/** Failures in a row that a run survives. A service that is away for longer than a step waits for it fails the step. */
const limits: Record<Cause, number> = { storage: 3, service: 10, process: 3 };

/** Longest pause before another try, in ms. */
const longestPause = 60_000;
/** Hosts that are remembered. */
const avoidedHosts = 16;
/** Times that hosts to avoid may refuse the run; after that any host is taken. */
const longestRefusal = 3;

export const newBudget = (): Budget => ({
  storage: 0,
  service: 0,
  process: 0,
  uncounted: 0,
  crash: null,
  rankCrashes: [],
  avoid: [],
  refusals: 0,
});

/** Counts an error and returns the pause before the next try in ms, or null when the budget is spent. */
export function spend(budget: Budget, cause: Cause): number | null {
  budget[cause] += 1;
  return budget[cause] > limits[cause] ? null : pauseAfter(budget[cause]);
}

/** Returns the pause in ms before the next try after a loss that nobody is to blame for; none after the first. */
export function pauseUncounted(budget: Budget): number {
  budget.uncounted += 1;
  return budget.uncounted === 1 ? 0 : pauseAfter(budget.uncounted - 1);
}

const pauseAfter = (count: number): number => Math.min(longestPause, 1000 * 2 ** (count - 1));

/**
 * Notes the crash of a step's process. One crash may be the host's fault; a second one on the same input is the input's.
 *
 * @throws ApplicationFailure PoisonInput at the second one
 */
export function noteCrash(budget: Budget, crash: CrashDetails): void {
  const before = budget.crash;
  budget.crash = crash;
  if (before?.step !== crash.step || before.input !== crash.input) return;
  const hosts =
    before.host === crash.host
      ? `twice on host ${crash.host}: ${before.ended}, then ${crash.ended}`
      : `on two hosts: ${before.ended} on ${before.host}, ${crash.ended} on ${crash.host}`;
  throw ApplicationFailure.nonRetryable(
    `${crash.step} crashed on the same input (sha256 ${crash.input.slice(0, 12)}) ${hosts}. ` +
      'Something in the recipe, the model or the data crashes the process that reads it: look for a damaged file, a ' +
      'template or a pattern that never finishes, or values far out of range, correct it and run again',
    failureTypes.poisonInput,
    before,
    crash,
  );
}

/** Says what ranks that ended in the same way at the same step have in common; empty when no two did. */
export function diagnoseRankCrashes({ rankCrashes }: Budget): string {
  const last = rankCrashes.at(-1);
  if (last === undefined || last.step === null) return '';
  const alike = rankCrashes.filter(({ step, ended }) => step === last.step && ended === last.ended);
  if (alike.length < 2) return '';
  const hosts = [...new Set(alike.map(({ host }) => host))];
  const where = hosts.length === 1 ? `on host ${hosts[0]}` : `on ${hosts.length} hosts (${hosts.join(', ')})`;
  const cause = hosts.length === 1 ? 'the host, the recipe or the data' : 'the recipe or the data';
  return (
    `\nThe rank's process ended in the same way (${last.ended}) ${alike.length} times after step ${last.step} ${where}, ` +
    `without a commit in between: the cause is likely ${cause}`
  );
}

/** Asks other hosts first the next time. */
export function avoidHosts(budget: Budget, queues: readonly string[]): void {
  budget.avoid = [...new Set([...budget.avoid, ...queues])].slice(-avoidedHosts);
  budget.refusals = 0;
}

/** Returns the queues of the hosts that should leave the run to another one. */
export function hostsToAvoid({ avoid, refusals }: Budget): string[] {
  return refusals < longestRefusal ? avoid : [];
}
