/** From a recipe file to a started workflow. */
import path from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { readRunDocument } from '../components/checkpoint/index.js';
import { composeRecipe } from '../components/config/index.js';
import { queryNames, type RunStatus, type Submission, workflowType } from '../contracts/index.js';
import { recipeSchema } from '../recipes/llm/recipe.js';
import { UsageError } from '../shared/errors.js';
import { canonicalUri, openStorage } from '../shared/storage/index.js';
import type { Session } from './server.js';

export interface Order {
  id: string;
  submission: Submission;
  /** Null where only the worker's environment knows it. */
  outputDir: string | null;
}

/** Reads and checks a recipe on the client's side. Throws InvalidRecipe. */
export async function orderFrom(
  file: string,
  options: { overrides: readonly string[]; id: string | null; fresh: boolean },
): Promise<Order> {
  const composed = await composeRecipe({ file }, { schema: recipeSchema, overrides: options.overrides });
  const { document, base } = composed;
  const name = String(document.name);
  const outputDir = document.output_dir == null ? path.posix.join('runs', name) : String(document.output_dir);
  return {
    id: options.id ?? name,
    submission: { version: 1, recipe: document, base, fresh: options.fresh },
    outputDir: outputDir.includes('${') ? null : canonicalUri(outputDir, base),
  };
}

/** Refuses a run whose folder says that it has completed, unless it is to begin afresh. */
export async function refuseCompleted({ id, outputDir, submission }: Order): Promise<void> {
  if (outputDir === null || submission.fresh) return;
  const document = await readRunDocument(await openStorage(outputDir, { roots: null })).catch(() => null);
  if (document?.run !== id || (document.state !== 'completed' && document.state !== 'stopped')) return;
  const model = document.result === null ? '' : `; its model is ${document.result.model}`;
  throw new UsageError(
    `the run '${id}' has ${document.state === 'stopped' ? 'been stopped and published' : 'completed'}${model}. ` +
      'Begin afresh with --new, or give it another name.',
  );
}

/** Starts the run's workflow, or attaches to it while it runs. Throws UsageError when that one writes to another folder. */
export async function submit(session: Session, order: Order): Promise<WorkflowHandle> {
  const { client, config } = session;
  if (!order.submission.fresh) await refuseOtherFolder(session, order);
  return client.workflow.start(workflowType, {
    workflowId: order.id,
    taskQueue: config.taskQueue,
    args: [order.submission],
    workflowIdConflictPolicy: order.submission.fresh ? 'TERMINATE_EXISTING' : 'USE_EXISTING',
    staticSummary: `fine-tune ${String((order.submission.recipe.model as { name?: unknown } | undefined)?.name ?? '')}`,
  });
}

async function refuseOtherFolder({ client }: Session, { id, outputDir }: Order): Promise<void> {
  const handle = client.workflow.getHandle(id);
  const running = await handle.describe().then(
    (description) => description.status.name === 'RUNNING',
    () => false,
  );
  if (!running || outputDir === null) return;
  // A workflow that nobody serves cannot answer; `admit` will judge it then.
  const status = await client
    .withDeadline(Date.now() + 2000, () => handle.query<RunStatus>(queryNames.progress))
    .catch(() => null);
  if (status?.outputDir == null || status.outputDir === outputDir) return;
  throw new UsageError(
    `the run '${id}' is under way and writes to ${status.outputDir}, not to ${outputDir}: wait for it, stop it, or choose another name`,
  );
}
