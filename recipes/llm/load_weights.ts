/** Brings a model's weights into an engine context, each in the dtype that the plan reads. */
import type { Weight, Weights } from '../../components/models/index.js';
import type { EngineContext } from '../../engine/index.js';
import { type Cast, compileCast, type TensorSpec } from '../../graph/index.js';
import { ModelError } from '../../shared/errors.js';

/**
 * Maps frozen weights from their files, whatever their dtype; widens trained ones into float32 masters in the context.
 * Nothing passes through JavaScript.
 */
export async function loadWeights(
  context: EngineContext,
  specs: readonly TensorSpec[],
  weights: Weights,
): Promise<void> {
  const casts: Cast[] = [];
  for (const spec of specs) {
    const weight = weights.get(spec.name);
    if (weight === undefined)
      throw new ModelError(`the weights have no tensor '${spec.name}', which the plan reads`);
    if (spec.role === 'frozen') {
      mapWeight(context, spec.name, weight);
      continue;
    }
    const source = `file:${spec.name}`;
    mapWeight(context, source, weight);
    context.allocate(spec.name, spec.dtype, spec.shape);
    casts.push({ from: { name: source, dtype: weight.dtype }, to: spec, shape: spec.shape });
  }
  if (casts.length === 0) return;
  const plan = context.load(compileCast(casts, context.target.alignment));
  await plan.run('cast');
  plan.unload();
  for (const { from } of casts) context.free(from.name);
}

function mapWeight(context: EngineContext, name: string, weight: Weight): void {
  context.map(name, weight.file, weight.byteOffset, weight.dtype, weight.shape);
}
