/** Steps of training in the engine, and in the interpreter for comparison. */
import { createContext } from '../../../engine/index.js';
import { type CompiledTraining, elements, PlanInterpreter } from '../../../graph/index.js';
import { inputSlots } from './checked.js';
import { feedsFor } from './tiny_decoder.js';

const scalars = {
  sgd_scalars: Float64Array.of(0.01, 0.9, 0),
  test_lion_scalars: Float64Array.of(0.01, 0.9, 0.99),
};

/** Returns what every run is fed, of the size that models start from, and exactly held by float32. */
function feedsOf({ graph }: CompiledTraining): Record<string, Float64Array> {
  const scale = (name: string) => (/(_proj|embed_tokens)/.test(name) ? 0.25 : 1);
  return Object.fromEntries(
    Object.entries({ ...feedsFor(graph), ...scalars }).map(([name, data]) => [
      name,
      data.map((x) => Math.fround(scale(name) * x)),
    ]),
  );
}

/** Two steps, of two micro-batches and of one. */
const queued = [
  ['micro', true],
  ['micro', false],
  ['norm', false],
  ['update', false],
  ['micro', true],
  ['norm', false],
  ['update', false],
] as const;

/** Runs the steps in the interpreter. Returns the tensors of the context. */
export function interpretSteps(compiled: CompiledTraining, rounding: boolean) {
  const feeds = feedsOf(compiled);
  const memory = compiled.tensors.map(({ name, shape }) => [
    name,
    (feeds[name] ?? new Float64Array(elements(shape))).slice(),
  ]);
  const machine = new PlanInterpreter(compiled.plan, Object.fromEntries(memory), { rounding });
  for (const [program, first] of queued) machine.run(program, feeds, { first });
  return machine.tensors;
}

/** Runs the steps in the engine. Returns the tensors of the context. */
export async function runSteps(compiled: CompiledTraining, isa: string, threads: number) {
  const { plan, tensors } = compiled;
  const feeds = feedsOf(compiled);
  const context = createContext({ isa, threads });
  try {
    context.poison(true);
    for (const { name, dtype, shape } of tensors) {
      context.allocate(name, dtype, shape);
      if (feeds[name] !== undefined) context.write(name, Float32Array.from(feeds[name]));
    }
    const loaded = context.load(plan);
    for (const [program, first] of queued) {
      const inputs = inputSlots(plan, program).map(({ name, dtype }) => [
        name,
        dtype === 'i32' ? Int32Array.from(feeds[name]!) : Float32Array.from(feeds[name]!),
      ]);
      await loaded.run(program, Object.fromEntries(inputs), { first });
    }
    return Object.fromEntries(tensors.map(({ name }) => [name, Float64Array.from(context.read(name))]));
  } finally {
    context.close();
  }
}

/** Names of the tensors that training changes. */
export const changedTensors = ({ tensors }: CompiledTraining) =>
  tensors.filter(({ role }) => role !== 'constant' && role !== 'frozen').map(({ name }) => name);
