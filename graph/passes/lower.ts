/**
 * Lowering: an op that the target has no kernel for is replaced by its fallback, and the ops of that by their own, until every op
 * has a kernel. Primitives keep their intermediate values in memory: a plan runs slower so, and computes the same.
 */
import { GraphBuilder } from '../builder/builder.js';
import { GraphError } from '../ir/error.js';
import type { Attrs, AxisSizes, Graph, Node, Value } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';
import type { Emit, Op } from '../ops/op.js';
import { opOf, planOps } from '../ops/registry.js';
import { valuesThatNeedGradients } from './autodiff.js';
import { removeDeadCode } from './dead_code.js';

/** An op that runs by its fallback. */
export interface LoweredOp {
  readonly op: string;
  /** Nodes of it that were replaced, before activations are recomputed. */
  readonly records: number;
}

interface Call {
  readonly op: Op;
  readonly inputs: readonly Value[];
  /** Old values of state that the op reads. */
  readonly states: readonly Value[];
  readonly attrs: Attrs;
}

/** Returns whether a call has to be lowered. */
type IsLacking = (op: Op, inputs: readonly Value[], attrs: Attrs) => boolean;

export class Lowering {
  readonly #kernels: ReadonlySet<string>;
  /** True of a target that computes every op of a plan. */
  readonly #hasAllKernels: boolean;
  readonly #counts = new Map<string, number>();

  /** @param kernels names of the ops that the target computes; null: every op of a plan */
  constructor(kernels: ReadonlySet<string> | null) {
    this.#kernels = kernels ?? new Set(planOps.map(({ name }) => name));
    this.#hasAllKernels = planOps.every(({ name }) => this.#kernels.has(name));
  }

  /** The ops that have been lowered so far. */
  get lowered(): LoweredOp[] {
    return [...this.#counts].map(([op, records]) => ({ op, records }));
  }

  /**
   * Lowers a graph that is still to be differentiated. A registered op that brings a gradient of its own waits for it; of the
   * program's ops the fallback is differentiated, since their gradients are ops with kernels too. An op whose gradient cannot be
   * computed is replaced as well, where that gradient is needed.
   *
   * @throws GraphError for an op with neither a kernel nor a fallback
   */
  forward(graph: Graph): Graph {
    const needs = valuesThatNeedGradients(graph);
    return this.#lower(graph, (op, inputs, attrs) => {
      const bringsGradient = op.vjp !== undefined && !planOps.includes(op);
      if (!this.#kernels.has(op.name) && !bringsGradient) return true;
      // A fallback's values are new; any of them may need a gradient.
      const inputNeeds = inputs.map(({ id }) => id >= graph.values.length || needs.has(id));
      const missing = this.#missingInGradient(op, inputs, attrs, inputNeeds, graph.axes);
      if (missing !== null && op.fallback === undefined) {
        throw new GraphError(
          `the target has no kernel for op '${missing}', which the gradient of op '${op.name}' needs, and neither op has a fallback`,
        );
      }
      return missing !== null;
    });
  }

  /** Lowers every op without a kernel. @throws GraphError for an op with neither a kernel nor a fallback */
  all(graph: Graph): Graph {
    return this.#lower(graph, ({ name }) => !this.#kernels.has(name));
  }

  /** Returns the name of an op in the gradient of a call that can be neither computed nor lowered; null where there is none. */
  #missingInGradient(
    op: Op,
    inputs: readonly Value[],
    attrs: Attrs,
    needs: readonly boolean[],
    axes: AxisSizes,
  ): string | null {
    if (this.#hasAllKernels || op.vjp === undefined || !needs.includes(true)) return null;
    const trial = new GraphBuilder('gradient', axes);
    const outputs = trial.emit(op.name, inputs, attrs);
    const gradientOps: string[] = [];
    const emit: Emit = (name, ...call) => {
      gradientOps.push(name);
      return trial.emit(name, ...call);
    };
    // The outputs stand in for their gradients, which have the same shapes.
    op.vjp(emit, { inputs, outputs, attrs }, outputs, needs);
    return gradientOps.find((name) => !this.#kernels.has(name) && opOf(name).fallback === undefined) ?? null;
  }

  #lower(graph: Graph, isLacking: IsLacking): Graph {
    const lacking = new Set(
      graph.nodes.filter(({ op, inputs, attrs }) =>
        isLacking(
          opOf(op),
          inputs.map((id) => getValue(graph, id)),
          attrs,
        ),
      ),
    );
    if (lacking.size === 0) return graph;
    const builder = GraphBuilder.withValuesOf(graph);
    const standIns = new Map<number, number>();
    for (const node of graph.nodes) {
      builder.phase(node.phase, () =>
        builder.scope(node.scope, () => {
          const [inputs, outputs] = [node.inputs, node.outputs].map((ids) =>
            ids.map((id) => builder.value(id)!),
          );
          if (lacking.has(node)) this.#replace(builder, isLacking, node, inputs!, outputs!, standIns);
          else builder.append({ op: node.op, inputs: inputs!, outputs: outputs!, attrs: node.attrs });
        }),
      );
    }
    return removeDeadCode(substitute(builder.build(), standIns));
  }

  /** Appends the fallback of `node`, and sees to it that what it makes is in the node's outputs. */
  #replace(
    builder: GraphBuilder,
    isLacking: IsLacking,
    node: Node,
    inputs: readonly Value[],
    outputs: readonly Value[],
    standIns: Map<number, number>,
  ): void {
    const op = opOf(node.op);
    const firstNew = builder.size;
    const states = (op.readsOutputs ?? []).flatMap((i) => outputs[i] ?? []);
    const results = this.#expand(builder, isLacking, { op, inputs, states, attrs: node.attrs }, [node.op]);
    // State is written when all of it has been read: what is passed on as it was is copied first.
    const sources = outputs.map((output, i) => {
      const result = results[i];
      if (result === undefined || result.shape.join() !== output.shape.join()) {
        throw new GraphError(
          `the fallback of op '${node.op}' makes ${result === undefined ? 'nothing' : `[${result.shape.join(', ')}]`} for its output ${i}, [${output.shape.join(', ')}]`,
        );
      }
      return result.id >= firstNew ? result : builder.emit('cast', [result])[0]!;
    });
    sources.forEach((source, i) => {
      const output = outputs[i]!;
      if (output.kind === 'intermediate' && !standIns.has(source.id)) standIns.set(source.id, output.id);
      else builder.append({ op: 'cast', inputs: [source], outputs: [output], attrs: {} });
    });
  }

  /** Appends the fallback of a call; `path` has the ops that led to it, the call's own last. */
  #expand(
    builder: GraphBuilder,
    isLacking: IsLacking,
    { op, inputs, states, attrs }: Call,
    path: readonly string[],
  ): Value[] {
    if (op.fallback === undefined)
      throw new GraphError(`the target has no kernel for op '${op.name}', and the op has no fallback`);
    this.#counts.set(op.name, (this.#counts.get(op.name) ?? 0) + 1);
    const emit: Emit = (name, values, attributes = {}, options = {}) => {
      if (!isLacking(opOf(name), values, attributes)) return builder.emit(name, values, attributes, options);
      const longer = [...path, name];
      if (path.includes(name)) throw new GraphError(`a fallback leads back to its op: ${longer.join(' → ')}`);
      const call = { op: opOf(name), inputs: values, states: [], attrs: attributes };
      const results = this.#expand(builder, isLacking, call, longer);
      return results.map((value, i) => {
        const dtype = options.dtypes?.[i] ?? value.dtype;
        return dtype === value.dtype ? value : builder.emit('cast', [value], {}, { dtypes: [dtype] })[0]!;
      });
    };
    return op.fallback(emit, [...inputs, ...states], attrs);
  }
}

/** Gives nodes the values that stand in for others. */
function substitute(graph: Graph, standIns: ReadonlyMap<number, number>): Graph {
  const substituteAll = (ids: readonly number[]) => ids.map((id) => standIns.get(id) ?? id);
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: substituteAll(node.inputs),
    outputs: substituteAll(node.outputs),
  }));
  return { ...graph, nodes };
}
