/** Every op the graph knows, by name. */
import { UsageError } from '../../shared/errors.js';
import { GraphError } from '../ir/error.js';
import { act, actGrad } from './act.js';
import { adamw } from './adamw.js';
import { attention, attentionGrad } from './attention.js';
import { crossEntropy } from './cross_entropy.js';
import { dropout } from './dropout.js';
import { accumulate, add, cast, scale } from './elementwise.js';
import { embedding, embeddingGrad } from './embedding.js';
import { fill } from './fill.js';
import { globalNorm } from './global_norm.js';
import { glu, gluGrad } from './glu.js';
import { linearCrossEntropy } from './linear_cross_entropy.js';
import { linearLogprobs, linearLogprobsGrad } from './linear_logprobs.js';
import { matmul, reduceRows } from './matmul.js';
import type { Op } from './op.js';
import { primitives } from './primitives.js';
import { randomNormal, randomUniform } from './random.js';
import { rmsnorm, rmsnormGrad } from './rmsnorm.js';
import { rope } from './rope.js';
import { sgd } from './sgd.js';
import { copy, download, upload } from './transfer.js';

/** Ops that a plan may hold, in the order of docs/plan-format.md. */
export const planOps: readonly Op[] = [
  fill,
  cast,
  add,
  scale,
  accumulate,
  embedding,
  embeddingGrad,
  matmul,
  rmsnorm,
  rmsnormGrad,
  rope,
  attention,
  attentionGrad,
  glu,
  gluGrad,
  act,
  actGrad,
  reduceRows,
  dropout,
  crossEntropy,
  linearCrossEntropy,
  linearLogprobs,
  linearLogprobsGrad,
  globalNorm,
  adamw,
  sgd,
  randomNormal,
  randomUniform,
  ...primitives,
  upload,
  copy,
  download,
];

const byName = new Map(planOps.map((op) => [op.name, op]));

/**
 * Adds an op of one's own, which needs a `fallback` in ops that are there: no engine has a kernel for it. Call it in
 * `register()` of temporal.config.js.
 *
 * @throws UsageError where the name is taken, or the op has no fallback
 */
export function registerOp(op: Op): void {
  if (byName.has(op.name)) throw new UsageError(`the op '${op.name}' is registered twice`);
  if (op.fallback === undefined)
    throw new UsageError(`the op '${op.name}' has no fallback, without which nothing can run it`);
  byName.set(op.name, op);
}

/** The rules of the op of this name. */
export function opOf(name: string): Op {
  const op = byName.get(name);
  if (op === undefined)
    throw new GraphError(`there is no op '${name}'; known are ${[...byName.keys()].join(', ')}`);
  return op;
}
