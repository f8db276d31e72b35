/** Admits a run: validates its recipe, claims its folder, and finds out whether anything is left to do. */
import path from 'node:path';
import { claimRun, readRunDocument, refuseUnderWay, takeClaim } from '../../components/checkpoint/index.js';
import { type LoadedRecipe, loadRecipe, maxRecipeBytes } from '../../components/config/index.js';
import {
  type Admitted,
  type RunReference,
  recipeKey,
  recipeReferenceSchema,
  type StoredRecipe,
  type Submission,
  storedRecipeSchema,
  submissionSchema,
} from '../../contracts/index.js';
import { canonicalJson } from '../../shared/digest.js';
import { InvalidRecipe, StorageError } from '../../shared/errors.js';
import {
  canonicalUri,
  openStorage,
  requireExclusiveCreation,
  type Storage,
} from '../../shared/storage/index.js';
import { findKind, schemaOfKind } from './kind.js';

export interface AdmitInfo {
  workflowId: string;
  runId: string;
  namespace: string;
  /** The workflow's server and namespace; null outside of Temporal, where nobody claims a run. */
  server: { address: string; namespaceId: string } | null;
  /** Storage roots of this worker; null when its user's permissions are the only bound. */
  roots: readonly string[] | null;
}

/**
 * Validates a workflow's input and claims the run's folder.
 *
 * @param input the recipe itself, `{"recipe": "<uri>"}`, or a Submission
 * @throws InvalidRecipe with every problem at once; CheckpointError where the folder is another run's; StorageError where
 * the storage does not create exclusively
 */
export async function admit(input: unknown, info: AdmitInfo): Promise<Admitted> {
  const { loaded, fresh, takeOver, pool } = await readInput(input, info);
  const kind = findKind((loaded.value as { kind: string }).kind);
  const {
    name,
    outputDir: folder,
    model,
    epochs,
    pool: ownPool,
    evaluatesEpochs,
  } = kind.summarize(loaded.value);
  const outputDir = canonicalUri(folder ?? path.posix.join('runs', name), loaded.base);
  const storage = await openStorage(outputDir, { roots: info.roots });
  const run: RunReference = {
    version: 1,
    id: info.workflowId,
    outputDir: storage.uri,
    recipeDigest: loaded.digest,
  };
  await requireExclusiveCreation(storage);
  if (info.server !== null && !takeOver) await refuseUnderWay(storage, info.server);
  const document = await readRunDocument(storage);
  const isOurs = document?.run === run.id;
  // An earlier attempt of this very workflow run may have claimed the folder already: its retry deletes nothing.
  const isRetry = isOurs && document.workflow?.runId === info.runId;
  const claimed = await claimRun(storage, {
    runId: run.id,
    recipeDigest: run.recipeDigest,
    workflow: { namespace: info.namespace, workflowId: info.workflowId, runId: info.runId },
    fresh: fresh && !isRetry,
    recipes: { previous: isOurs ? await previousRecipe(storage) : null, next: loaded.value },
    guarded: kind.identityKeys,
  });
  const admitted = { run, model, epochs, pool: pool ?? ownPool, evaluatesEpochs };
  if (claimed.kind === 'completed') return { ...admitted, completed: claimed.document.result };
  if (info.server !== null) {
    const { address, namespaceId } = info.server;
    const { namespace, workflowId, runId } = info;
    await takeClaim(storage, { server: address, namespace, namespaceId, workflowId, firstRunId: runId });
  }
  const stored: StoredRecipe = {
    version: 1,
    digest: loaded.digest,
    base: loaded.base,
    recipe: loaded.document,
  };
  await storage.write(recipeKey, Buffer.from(`${JSON.stringify(stored, null, 2)}\n`));
  return { ...admitted, completed: null };
}

async function readInput(
  input: unknown,
  info: AdmitInfo,
): Promise<{ loaded: LoadedRecipe<unknown> } & Pick<Submission, 'fresh' | 'takeOver' | 'pool'>> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw invalid(
      `the workflow's input must be a recipe as an object, or {"recipe": "<uri>"}, not ${describeValue(input)}`,
    );
  }
  const base = info.roots?.[0] ?? process.cwd();
  const options = { schema: schemaOfKind, base, run: info.workflowId, roots: info.roots };
  const submission = submissionSchema.safeParse(input);
  if (submission.success) {
    const { recipe, fresh, takeOver, pool } = submission.data;
    return {
      loaded: await loadRecipe({ recipe }, { ...options, base: submission.data.base ?? base }),
      fresh,
      takeOver,
      pool,
    };
  }
  const reference = recipeReferenceSchema.safeParse(input);
  if (reference.success) {
    const uri = canonicalUri(reference.data.recipe, base);
    const folder = uri.slice(0, uri.lastIndexOf('/'));
    const storage = await openStorage(folder, { roots: info.roots });
    const text = await readText(storage, uri.slice(folder.length + 1));
    const loaded = await loadRecipe({ text }, { ...options, base: storage.uri });
    return { loaded, fresh: false, takeOver: false, pool: null };
  }
  const loaded = await loadRecipe({ recipe: input as Record<string, unknown> }, options);
  return { loaded, fresh: false, takeOver: false, pool: null };
}

async function readText(storage: Storage, key: string): Promise<string> {
  try {
    const size = (await storage.size(key)) ?? 0;
    if (size > maxRecipeBytes)
      throw invalid(`${storage.uri}/${key} has ${size} bytes; a recipe may have at most ${maxRecipeBytes}`);
    return (await storage.read(key)).toString('utf8');
  } catch (error) {
    if (error instanceof StorageError) throw invalid(`the recipe cannot be read: ${error.message}`);
    throw error;
  }
}

/** Returns the recipe that the folder's run was last admitted with; null when there is none. */
async function previousRecipe(storage: Storage): Promise<unknown> {
  if ((await storage.size(recipeKey)) === null) return null;
  const storedRecipe = storedRecipeSchema.safeParse(
    JSON.parse((await storage.read(recipeKey)).toString('utf8')),
  );
  if (!storedRecipe.success) return null;
  const { recipe, base } = storedRecipe.data;
  return (await loadRecipe({ recipe }, { schema: schemaOfKind, base })).value;
}

const invalid = (message: string) =>
  new InvalidRecipe([{ key: '', message, file: null, line: null, column: null }]);

const describeValue = (value: unknown) =>
  Array.isArray(value) ? 'a list' : canonicalJson(value ?? null).slice(0, 40);
