/**
 * Appends what ends a step: the global norm of the gradients with the loss (program `norm`), and the optimiser, in
 * place on parameters and moments (program `update`). Between the two the host looks at the norm.
 */
import { GraphBuilder } from '../builder.js';
import { GraphError } from '../error.js';
import type { Graph, Value } from '../graph.js';
import { lossState } from './accumulate.js';

export type OptimizerSpec =
  | { readonly name: 'adamw'; readonly weightDecay: (parameter: string) => number }
  | { readonly name: 'sgd'; readonly momentum: boolean; readonly weightDecay: (parameter: string) => number };

/** The context's tensor that holds the global norm between `norm` and `update`. */
export const normState = 'stat:norm';

/** The trained parameters with their gradients, in the order of the `norms` output. */
export function trainedParameters(graph: Graph): { parameter: Value; gradient: Value }[] {
  const states = new Map(
    graph.values.filter((value) => value.kind === 'state').map((value) => [value.name, value]),
  );
  return graph.values.flatMap((parameter) => {
    const gradient = states.get(`grad:${parameter.name}`);
    return parameter.kind === 'param' && gradient !== undefined ? [{ parameter, gradient }] : [];
  });
}

export function appendOptimizer(graph: Graph, spec: OptimizerSpec): Graph {
  const builder = GraphBuilder.from(graph);
  const trained = trainedParameters(graph);
  if (trained.length === 0) throw new GraphError(`graph ${graph.name} has no gradients to optimise with`);
  const loss = builder.state(lossState, 'f32', '1');
  const norm = builder.state(normState, 'f32', '1');
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
    builder.append({
      op: 'cast',
      inputs: [loss],
      outputs: [builder.outputSlot('loss', 'f32', '1')],
      attrs: {},
    });
  });
  builder.phase('update', () => {
    const hyper = builder.input('hyper', 'f32', '8');
    for (const { parameter, gradient } of trained) {
      const moment = (prefix: string) =>
        builder.state(`${prefix}:${parameter.name}`, 'f32', parameter.axes.join(' '), parameter.placement);
      const inputs = [parameter, gradient, norm, hyper];
      const weightDecay = spec.weightDecay(parameter.name);
      if (spec.name === 'adamw') {
        builder.append({
          op: 'adamw',
          inputs,
          outputs: [parameter, moment('m'), moment('v')],
          attrs: { weight_decay: weightDecay },
        });
      } else {
        const outputs = spec.momentum ? [parameter, moment('momentum')] : [parameter];
        builder.append({
          op: 'sgd',
          inputs,
          outputs,
          attrs: { weight_decay: weightDecay, momentum: spec.momentum },
        });
      }
    }
  });
  return builder.build();
}
