/** Turns a recipe file into a started workflow. */
import path from 'node:path';
import { defaultPayloadConverter, type WorkflowHandle, WorkflowNotFoundError } from '@temporalio/client';
import { readRunDocument } from '../../components/checkpoint/index.js';
import { composeRecipe } from '../../components/config/index.js';
import {
  ownPool,
  ownQueue,
  queryNames,
  type RunStatus,
  type Submission,
  submissionSchema,
  workflowType,
} from '../../contracts/index.js';
import { schemaOfKind } from '../../recipes/admission.js';
import { canonicalJson } from '../../shared/digest.js';
import { UsageError } from '../../shared/errors.js';
import { canonicalUri, openStorage } from '../../shared/storage/index.js';
import { isServed } from './pollers.js';
import type { Session } from './server.js';

export interface Order {
  id: string;
  submission: Submission;
  /** The run's folder; null when only the worker's environment determines it. */
  outputDir: string | null;
}

/** Reads and checks a recipe on the client's side. Throws InvalidRecipe. */
export async function orderFrom(
  file: string,
  options: { overrides: readonly string[]; id: string | null; fresh: boolean; takeOver: boolean },
): Promise<Order> {
  const composed = await composeRecipe(
    { file },
    { schema: schemaOfKind, overrides: options.overrides, ...(options.id !== null && { run: options.id }) },
  );
  const { document, base } = composed;
  const name = String(document.name);
  const outputDir = document.output_dir == null ? path.posix.join('runs', name) : String(document.output_dir);
  return {
    id: options.id ?? name,
    submission: {
      version: 1,
      recipe: document,
      base,
      pool: null,
      fresh: options.fresh,
      takeOver: options.takeOver,
    },
    outputDir: outputDir.includes('${') ? null : canonicalUri(outputDir, base),
  };
}

/** Refuses a run whose folder says that it has completed, unless it is to start over. */
export async function refuseCompleted({ id, outputDir, submission }: Order): Promise<void> {
  if (outputDir === null || submission.fresh) return;
  const document = await readRunDocument(await openStorage(outputDir, { roots: null })).catch(() => null);
  if (document?.run !== id || (document.state !== 'completed' && document.state !== 'stopped')) return;
  const model = document.result === null ? '' : `; its model is ${document.result.model}`;
  throw new UsageError(
    `the run '${id}' has ${document.state === 'stopped' ? 'been stopped and published' : 'completed'}${model}. ` +
      'Start over with --new, or give it another name.',
  );
}

export interface SubmittedRun {
  handle: WorkflowHandle;
  /** True when an open workflow continues with a recipe other than this one. */
  otherRecipe: boolean;
}

/** Starts the run's workflow on the workers' queue, or attaches while it is open. Throws UsageError when that one writes to another folder. */
export async function submit(session: Session, order: Order): Promise<WorkflowHandle> {
  await openWorkflow(session, order);
  const { fresh } = order.submission;
  return startWorkflow(
    session,
    order,
    session.config.taskQueue,
    fresh ? 'TERMINATE_EXISTING' : 'USE_EXISTING',
  );
}

/**
 * Starts or continues the run where somebody serves it: on the queue it is on, on the workers' queue, or else on a
 * queue of its own. A workflow that nobody serves is parked: with the same recipe it continues, otherwise a new one
 * takes over its folder, which judges the changes.
 *
 * @param serve called when that is the run's own queue: before the workflow begins, so that it finds a worker waiting
 * and skips the queue's backlog; but after a parked one was replaced, which must not wake
 * @throws UsageError when an open workflow writes to another folder
 */
export async function submitOrServe(
  session: Session,
  order: Order,
  serve: () => Promise<void>,
): Promise<SubmittedRun> {
  const { id, submission } = order;
  const { fresh } = submission;
  const runQueue = ownQueue(id);
  const open = await openWorkflow(session, order);
  if (open?.served) {
    if (open.taskQueue === runQueue) await serve();
    return { handle: open.handle, otherRecipe: !(await hasRecipe(session, open, submission)) };
  }
  const shared = await isServed(session, session.config.taskQueue);
  const taskQueue = shared ? session.config.taskQueue : runQueue;
  const orderInPool: Order = { ...order, submission: { ...submission, pool: shared ? null : ownPool(id) } };
  const goesOn =
    open !== null && !fresh && open.taskQueue === taskQueue && (await hasRecipe(session, open, submission));
  const replaces = open !== null && !goesOn;
  if (!shared && !replaces) await serve();
  const policy = fresh || replaces ? 'TERMINATE_EXISTING' : 'USE_EXISTING';
  const handle = await startWorkflow(session, orderInPool, taskQueue, policy);
  if (!shared && replaces) await serve();
  return { handle, otherRecipe: false };
}

function startWorkflow(
  { client }: Session,
  { id, submission }: Order,
  taskQueue: string,
  workflowIdConflictPolicy: 'TERMINATE_EXISTING' | 'USE_EXISTING',
): Promise<WorkflowHandle> {
  return client.workflow.start(workflowType, {
    workflowId: id,
    taskQueue,
    args: [submission],
    workflowIdConflictPolicy,
    staticSummary: `fine-tune ${String((submission.recipe.model as { name?: unknown } | undefined)?.name ?? '')}`,
  });
}

interface OpenWorkflow {
  handle: WorkflowHandle;
  runId: string;
  taskQueue: string;
  /** True when a worker serves it; not determined, and false, when the run starts over. */
  served: boolean;
}

/**
 * Returns the run's workflow where one is open. Throws UsageError when one that is to continue writes to another
 * folder.
 */
async function openWorkflow(
  session: Session,
  { id, outputDir, submission: { fresh } }: Order,
): Promise<OpenWorkflow | null> {
  const { client } = session;
  const handle = client.workflow.getHandle(id);
  const description = await handle.describe().catch((error: unknown) => {
    if (error instanceof WorkflowNotFoundError) return null;
    throw error;
  });
  if (description?.status.name !== 'RUNNING') return null;
  const { runId, taskQueue } = description;
  const served = !fresh && (await isServed(session, taskQueue));
  // A workflow that nobody serves cannot answer; `admit` will judge it then.
  const status = served
    ? await client
        .withDeadline(Date.now() + 2000, () => handle.query<RunStatus>(queryNames.progress))
        .catch(() => null)
    : null;
  if (outputDir !== null && status?.outputDir != null && status.outputDir !== outputDir) {
    throw new UsageError(
      `the run '${id}' is in progress and writes to ${status.outputDir}, not to ${outputDir}: wait for it, stop it, or choose another name`,
    );
  }
  return { handle, runId, taskQueue, served };
}

/** Returns whether a workflow was started with the same recipe from the same folder. */
async function hasRecipe(
  { client, namespace }: Session,
  { handle, runId }: OpenWorkflow,
  { recipe, base }: Submission,
): Promise<boolean> {
  const { history } = await client.workflowService.getWorkflowExecutionHistory({
    namespace,
    execution: { workflowId: handle.workflowId, runId },
    maximumPageSize: 1,
  });
  const [payload] = history?.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
  if (payload === undefined) return false;
  const startedInput = submissionSchema.safeParse(defaultPayloadConverter.fromPayload(payload));
  return (
    startedInput.success &&
    canonicalJson({ recipe: startedInput.data.recipe, base: startedInput.data.base }) ===
      canonicalJson({ recipe, base })
  );
}
