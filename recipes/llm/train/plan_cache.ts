/**
 * Compiled plans, kept in the cache under the digest of everything that they follow from: the model's graph, the
 * recipe's options, what the device can do and the compiler itself. A run that resumes, or starts over, finds its plans there.
 */
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { lossRule } from '../../../components/loss/index.js';
import type { Model, Weights } from '../../../components/models/index.js';
import { optimizerSpec } from '../../../components/optim/index.js';
import { attachLoss, compilerDigest, planOps } from '../../../graph/index.js';
import { digestOf, sha256 } from '../../../shared/digest.js';
import { removeAbandoned, writeUnsynced } from '../../../shared/files.js';
import { resolveRoots } from '../../../shared/storage/index.js';
import type { Recipe } from '../recipe.js';
import {
  type CompiledPlans,
  type CompiledRun,
  type CompileRequest,
  compilePlans,
  compileRequest,
} from './compile.js';

/** Compiled runs that are kept; the least recently used one goes first. */
const maxCachedPlans = 64;

/**
 * Returns the plans of a run, from the cache when they are in it.
 * @param device that they are for, e.g. `cpu:0`; it need not be there
 * @throws OutOfMemoryError where no arena fits the budget
 */
export async function compileRun(
  recipe: Recipe,
  model: Model,
  weights: Weights,
  device: string,
  memoryLimit: number,
): Promise<CompiledRun> {
  const request = compileRequest(recipe, model, weights, device, memoryLimit);
  const { positions, adapted, compileBaseValidation } = request;
  return { ...(await loadPlans(request)), positions, adapted, compileBaseValidation };
}

async function loadPlans(request: CompileRequest): Promise<CompiledPlans> {
  const { cache } = resolveRoots(null);
  if (cache.includes('://') || hasOwnOps(request)) return compilePlans(request);
  const folder = path.join(cache, 'plans');
  const file = path.join(folder, `${await digestRequest(request)}.json`);
  const cachedPlans = await read(file);
  if (cachedPlans !== null) return cachedPlans;
  const plans = compilePlans(request);
  // What cannot be kept is compiled again the next time.
  await keep(folder, file, JSON.stringify(plans)).catch(() => undefined);
  return plans;
}

/** True of plans with an operator's own op: its code is no part of the digest, and may change under its name. */
function hasOwnOps({ graph, recipe: { training } }: CompileRequest): boolean {
  const { nodes } = attachLoss(graph, lossRule(training.loss));
  const programOps = new Set(planOps.map(({ name }) => name));
  return [...nodes, optimizerSpec(training.optimizer)].some(({ op }) => !programOps.has(op));
}

async function digestRequest({ graph, recipe, target, memoryLimit }: CompileRequest): Promise<string> {
  const { training, data, peft } = recipe;
  const { optimizer, precision, loss, activation_checkpointing } = training;
  const { op, attrs } = optimizerSpec(optimizer);
  return digestOf({
    compiler: await compilerDigest(),
    target: { ...target, kernels: [...target.kernels] },
    // What they add, not their names: an operator's own code may change under one name.
    graph: attachLoss(graph, lossRule(loss)),
    update: { op, attrs },
    options: {
      optimizer,
      precision,
      loss,
      activation_checkpointing,
      peft,
      validation: data.validation !== null,
    },
    memoryLimit: activation_checkpointing === 'auto' ? memoryLimit : null,
  });
}

/** Reads cached plans; null when they are absent or damaged. The first line is the digest of the second. */
async function read(file: string): Promise<CompiledPlans | null> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const end = text.indexOf('\n');
  const body = text.slice(end + 1);
  return end > 0 && sha256(body) === text.slice(0, end) ? (JSON.parse(body) as CompiledPlans) : null;
}

async function keep(folder: string, file: string, body: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await removeAbandoned(folder);
  await writeUnsynced(file, `${sha256(body)}\n${body}`);
  const others = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const cached = path.join(folder, name);
      return { at: cached, used: (await stat(cached)).atimeMs };
    }),
  );
  others.sort((a, b) => b.used - a.used);
  for (const { at: cached } of others.slice(maxCachedPlans)) await rm(cached, { force: true });
}
