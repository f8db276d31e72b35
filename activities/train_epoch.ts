/**
 * Step 3: one epoch of a run on this host's rank. The rank computes in a process of its own, so that heartbeats are never
 * held up by native code, and its exit is noticed at once.
 */
import { CancelledFailure, Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/common';
import {
  type EpochOutcome,
  type GangActivities,
  type Progress,
  signalNames,
  type TrainOutcome,
  type TrainRequest,
  trainRequestSchema,
} from '../contracts/index.js';
import { otherOwner } from '../recipes/index.js';
import { FencedError, TemperError } from '../shared/errors.js';
import { toFailure, toTrainingFailure } from './failure.js';
import type { ProgressListener, RankHost } from './rank_host.js';

/** ms between heartbeats that repeat the last progress; the worker throttles them to one a second. */
const beat = 1000;
/** ms between `report` signals, each of which is an event in the workflow's history. */
const reportInterval = 20_000;

export function createTrainEpoch(host: RankHost): Pick<GangActivities, 'trainEpoch'> {
  return { trainEpoch: (request) => trainEpoch(host, trainRequestSchema.parse(request)) };
}

async function trainEpoch(host: RankHost, request: TrainRequest): Promise<TrainOutcome> {
  const context = Context.current();
  const reporter = new Reporter(context);
  const timer = setInterval(() => context.heartbeat(reporter.last), beat);
  try {
    const trained = host.train(request, reporter.onProgress);
    const outcome = await Promise.race([
      trained,
      abandoned(context, host, request, reporter.onProgress, trained),
    ]);
    return outcome === 'detached' ? { kind: 'detached' } : { kind: 'ended', outcome };
  } catch (error) {
    throw error instanceof TemperError && error.code === FencedError.name
      ? await fencedFailure(error, request)
      : toTrainingFailure(error);
  } finally {
    clearInterval(timer);
  }
}

/**
 * Names the workflow that took the run's folder. That ends this run: if both continued, each would fence the other again and again. A
 * generation of this very workflow, taken by an `acquire` that it had given up on, costs no more than another grant.
 */
async function fencedFailure(error: TemperError, { run, claim }: TrainRequest): Promise<unknown> {
  const owner = await otherOwner(run, claim).catch(() => null);
  if (owner === null) return toFailure(error, 'process');
  const { workflowId, namespace, runId } = owner;
  const message =
    `workflow ${workflowId} in namespace ${namespace} (run ${runId}) has taken over ${run.outputDir}, so this run ends: ` +
    'give one of the two another output_dir, or start the run on one server only';
  return toFailure(new FencedError(message, { cause: error }), 'never');
}

/**
 * Never settles unless the activity is cancelled. A workflow that asks for the end gets the outcome, committed. One that
 * does not know this attempt any more either ended, and the gang ends with it, or took the silence of an outage for a
 * loss, and will come back for a gang that trains on.
 */
async function abandoned(
  context: Context,
  host: RankHost,
  { grant, run }: TrainRequest,
  listener: ProgressListener,
  trained: Promise<EpochOutcome | 'detached'>,
): Promise<EpochOutcome | 'detached'> {
  await context.cancelled.catch(() => undefined);
  const details = context.cancellationDetails;
  if (details?.notFound !== true) {
    host.preempt(grant);
    return await trained;
  }
  if (await isRunning(context, run.id)) host.orphan(grant, listener);
  else await host.release(grant);
  throw new CancelledFailure('the workflow no longer waits for this activity');
}

async function isRunning(context: Context, workflowId: string): Promise<boolean> {
  try {
    const { status } = await context.client.workflow.getHandle(workflowId).describe();
    return status.name === 'RUNNING';
  } catch (error) {
    return !(error instanceof WorkflowNotFoundError);
  }
}

/** Heartbeats with every progress; signals the workflow when the generation has loaded, after its first step, and now and again. */
class Reporter {
  last: Progress | null = null;
  readonly #context: Context;
  #reportedAt = 0;
  /** The `resumed` that was last reported, as JSON. */
  #resumed: string | null = null;

  constructor(context: Context) {
    this.#context = context;
  }

  readonly onProgress = (progress: Progress): void => {
    this.last = progress;
    this.#context.heartbeat(progress);
    const resumed = JSON.stringify(progress.resumed);
    if (resumed === this.#resumed && Date.now() - this.#reportedAt < reportInterval) return;
    this.#resumed = resumed;
    this.#reportedAt = Date.now();
    const { workflowId } = this.#context.info.workflowExecution!;
    // Lost reports are made up for by the next one.
    this.#context.client.workflow
      .getHandle(workflowId)
      .signal(signalNames.report, progress)
      .catch(() => undefined);
  };
}
