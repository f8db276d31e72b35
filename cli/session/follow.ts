/** Follows a run's workflow: what its activities report, what its timeline records, and how it ends. */
import {
  defaultPayloadConverter,
  isGrpcServiceError,
  ServiceError,
  type WorkflowHandle,
} from '@temporalio/client';
import {
  type FinetuneResult,
  finetuneResultSchema,
  progressSchema,
  queryNames,
  type RunStatus,
  type TimelineEntry,
} from '../../contracts/index.js';
import { ServiceUnavailable } from '../../shared/errors.js';
import type { ProgressDisplay } from '../terminal/progress.js';
import { duration } from '../terminal/progress.js';

/** ms between polls. */
const pollInterval = 400;

const stepNames: Record<string, string> = {
  admit: 'checking the recipe',
  prepareData: 'preparing data',
  shardModel: 'preparing the model',
  acquire: 'waiting for a host with a free slot',
  evaluateEpoch: 'evaluating',
  evaluate: 'evaluating',
  consolidate: 'publishing',
};

/** Shows a run until it ends or `signal` is aborted, and returns its result; null when aborted. Throws its failure. */
export async function follow(
  handle: WorkflowHandle,
  display: ProgressDisplay,
  signal: AbortSignal,
): Promise<FinetuneResult | null> {
  const outcome = awaitResult(handle, signal).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  const watcher = new Watcher(handle, display);
  for (;;) {
    const settled = await Promise.race([outcome, pause(pollInterval, signal)]);
    if (settled !== null) {
      await watcher.poll().catch(() => undefined);
      display.clear();
      if ('error' in settled) throw settled.error;
      return finetuneResultSchema.parse(settled.value);
    }
    if (signal.aborted) {
      display.clear();
      return null;
    }
    // An outage of the server does not end the watching: the run continues without us.
    await watcher.poll().catch(() => undefined);
  }
}

/** ms of an outage of the server after which the watching ends. */
const patience = 600_000;

/**
 * Returns the workflow's result or failure, through outages of the server. Throws ServiceUnavailable when one lasts too
 * long.
 */
async function awaitResult(handle: WorkflowHandle, signal: AbortSignal): Promise<unknown> {
  let failingSince: number | null = null;
  for (;;) {
    const askedAt = Date.now();
    try {
      return await handle.result();
    } catch (error) {
      if (!isGrpcServiceError(error) && !(error instanceof ServiceError)) throw error;
      // A long poll that the server let expire is not an outage.
      failingSince = Date.now() - askedAt > 30_000 ? Date.now() : (failingSince ?? askedAt);
      if (Date.now() - failingSince > patience)
        throw new ServiceUnavailable(
          `Temporal has not answered for ${patience / 60_000} minutes (${error.message}); the run continues on its worker`,
        );
      await pause(1000, signal);
      if (signal.aborted) throw error;
    }
  }
}

class Watcher {
  readonly #handle: WorkflowHandle;
  readonly #display: ProgressDisplay;
  #activity = '';
  #text = '';
  /** Number of the newest timeline entry that was shown. */
  #shown = 0;
  #askedAt = 0;

  constructor(handle: WorkflowHandle, display: ProgressDisplay) {
    this.#handle = handle;
    this.#display = display;
  }

  async poll(): Promise<void> {
    const { raw } = await this.#handle.describe();
    for (const activity of raw.pendingActivities ?? []) {
      const payload = activity.heartbeatDetails?.payloads?.[0];
      const details: unknown = payload == null ? null : defaultPayloadConverter.fromPayload(payload);
      this.#show(activity.activityType?.name ?? '', details);
    }
    if (Date.now() - this.#askedAt < 1000) return;
    this.#askedAt = Date.now();
    const { timeline } = await this.#handle.query<RunStatus>(queryNames.progress);
    for (const entry of timeline.filter(({ number }) => number > this.#shown))
      this.#display.note(describe(entry));
    this.#shown = timeline.at(-1)?.number ?? this.#shown;
  }

  #show(activity: string, details: unknown): void {
    const progress = progressSchema.safeParse(details);
    if (progress.success) {
      this.#display.update(progress.data);
      return;
    }
    const name = stepNames[activity];
    if (name === undefined) return;
    const text =
      typeof details === 'object' && details !== null && 'text' in details ? String(details.text) : '';
    if (activity === this.#activity && text === this.#text) return;
    this.#activity = activity;
    this.#text = text;
    this.#display.status(text === '' ? name : `${name}: ${text}`);
  }
}

const eventNames: Record<TimelineEntry['event'], string> = {
  admitted: 'admitted',
  data_prepared: 'data ready',
  model_ready: 'model ready',
  gang_granted: 'host granted',
  epoch_finished: 'epoch finished',
  preempted: 'preempted',
  rank_lost: 'rank lost',
  host_lost: 'host lost',
  error_retried: 'error, retried',
  resumed: 'resumed',
  checkpoint_damaged: 'damaged checkpoint skipped',
  paused: 'paused',
  unpaused: 'unpaused',
  stopped: 'stopped',
  evaluated: 'evaluated',
  published: 'published',
};

/** Returns a timeline entry as a line: what happened, at which step, and what it cost. */
export function describe(entry: TimelineEntry): string {
  const cost = [
    entry.detectedAfter === null ? '' : `detected after ${duration(entry.detectedAfter)}`,
    entry.stepsLost === null ? '' : `${entry.stepsLost} steps lost`,
    entry.exactness === null || entry.exactness === 'fresh' ? '' : `exact: ${entry.exactness}`,
  ].filter((part) => part !== '');
  const step = entry.step === null ? '' : ` at step ${entry.step}`;
  const detail = entry.detail === '' ? '' : `: ${entry.detail.split('\n')[0]}`;
  return `• ${eventNames[entry.event]}${step}${detail}${cost.length === 0 ? '' : ` (${cost.join(', ')})`}`;
}

function pause(ms: number, signal: AbortSignal): Promise<null> {
  if (signal.aborted) return Promise.resolve(null);
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve(null);
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
