/**
 * Appends what ends a step: the global norm of the gradients with the loss (program `norm`), and the optimiser, in
 * place on parameters and moments (program `update`). Between the two the host looks at the norm.
 */
import { GraphBuilder } from '../builder/builder.js';
import { GraphError } from '../ir/error.js';
import type { Attrs, Graph, Value } from '../ir/graph.js';
import { maxNormSlot, optimizerRules, scalarsSlot } from '../ops/optimizer.js';
import { opOf } from '../ops/registry.js';
import { lossState } from './accumulate.js';

export interface OptimizerSpec {
  /** The optimizer's op. */
  readonly op: string;
  /** Its attributes but `weight_decay`. */
  readonly attrs: Attrs;
  readonly weightDecay: (parameter: string) => number;
}

/** The context's tensor that holds the global norm between `norm` and `update`. */
export const normState = 'stat:norm';

/** The trained parameters with their gradients, in the order of the `norms` output. */
export function trainedParameters(graph: Graph): { parameter: Value; gradient: Value }[] {
  const states = new Map(
    graph.values.filter((value) => value.role === 'gradient').map((value) => [value.name, value]),
  );
  const parameters = graph.values.filter(({ role }) => role === 'trained');
  return parameters.flatMap((parameter) => {
    const gradient = states.get(`grad:${parameter.name}`);
    return gradient === undefined ? [] : [{ parameter, gradient }];
  });
}

export function appendOptimizer(graph: Graph, spec: OptimizerSpec): Graph {
  const builder = GraphBuilder.from(graph);
  const trained = trainedParameters(graph);
  if (trained.length === 0) throw new GraphError(`graph ${graph.name} has no gradients to optimize with`);
  const norm = builder.state(normState, 'statistic', 'f32', '1');
  builder.phase('norm', () => {
    const norms = builder.outputSlot('norms', 'f32', String(trained.length));
    const gradients = trained.map(({ gradient }) => gradient);
    builder.append({ op: 'global_norm', inputs: gradients, outputs: [norm, norms], attrs: {} });
    builder.append({
      op: 'cast',
      inputs: [norm],
      outputs: [builder.outputSlot('norm', 'f32', '1')],
      attrs: {},
    });
    const loss = builder.state(lossState, 'statistic', 'f32', '1');
    builder.append({
      op: 'cast',
      inputs: [loss],
      outputs: [builder.outputSlot('loss', 'f32', '1')],
      attrs: {},
    });
  });
  builder.phase('update', () => {
    const rules = optimizerRules(opOf(spec.op));
    const maxNorm = builder.input(maxNormSlot, 'f32', '1');
    const scalars = builder.input(scalarsSlot(spec.op), 'f32', String(rules.scalars.length));
    for (const { parameter, gradient } of trained) {
      const attrs = { ...spec.attrs, weight_decay: spec.weightDecay(parameter.name) };
      const states = rules
        .states(attrs)
        .map((prefix) =>
          builder.state(
            `${prefix}:${parameter.name}`,
            'optimizer',
            'f32',
            parameter.axes.join(' '),
            parameter.layout,
          ),
        );
      const inputs = [parameter, gradient, norm, maxNorm, scalars];
      builder.append({ op: spec.op, inputs, outputs: [parameter, ...states], attrs });
    }
  });
  return builder.build();
}

/**
 * The inputs of the program `update`: an optimizer's scalars, by name, and the norm to clip to (0 does not clip).
 *
 * @throws GraphError unless the scalars are exactly the optimizer's
 */
export function updateInputs(
  op: string,
  scalars: Readonly<Record<string, number>>,
  maxNorm: number,
): Record<string, Float32Array> {
  const names = optimizerRules(opOf(op)).scalars;
  if (Object.keys(scalars).sort().join() !== [...names].sort().join())
    throw new GraphError(`${op} takes ${names.join(', ')}, not ${Object.keys(scalars).join(', ')}`);
  return {
    [maxNormSlot]: Float32Array.of(maxNorm),
    [scalarsSlot(op)]: Float32Array.from(names, (name) => scalars[name]!),
  };
}
