import type { CompiledTraining } from '../../../graph/index.js';
import { elements, PlanInterpreter } from '../../../graph/index.js';

/** Runs the program `micro` once for each of `feeds`, as the micro-batches of a step. */
export function runMicro(
  compiled: CompiledTraining,
  ...feeds: readonly Readonly<Record<string, Float64Array>>[]
): PlanInterpreter {
  const tensors = Object.fromEntries(
    compiled.tensors.map(({ name, shape }) => [name, feeds[0]![name] ?? new Float64Array(elements(shape))]),
  );
  const engine = new PlanInterpreter(compiled.plan, tensors);
  feeds.forEach((inputs, i) => {
    engine.run('micro', inputs, { first: i === 0 });
  });
  engine.finish();
  return engine;
}
