/**
 * Slots: a program's records never touch host memory. A program begins with `upload`, from its input slots to staged values,
 * and `copy`, from there to values that its nodes read; what its nodes write for output slots is staged, and `download` ends
 * the program. So the next run's inputs are uploaded, and the last run's outputs downloaded, while a run computes. A graph
 * with an optimizer gets the program `snapshot`: what a checkpoint holds, downloaded straight from the context's tensors.
 */
import type { Graph, Node, Value, ValueKind } from '../ir/graph.js';
import { getValue, tensorValues } from '../ir/graph.js';
import { programs } from './schedule.js';

export interface ProgramNodes {
  readonly program: string;
  readonly nodes: readonly Node[];
}

/** The values of all programs are those of `graph`; the nodes of each are its own. */
export interface StagedPrograms {
  readonly graph: Graph;
  readonly programs: readonly ProgramNodes[];
}

/** Appends a value like another one and returns its id. */
type AddValue = (like: Value, kind: ValueKind, name: string) => number;

/** @param micro the name of the program of forward and backward */
export function stageSlots(graph: Graph, micro: string): StagedPrograms {
  const values = [...graph.values];
  const addValue: AddValue = (like, kind, name) => {
    values.push({ ...like, id: values.length, kind, name, role: null });
    return values.length - 1;
  };
  const staged = [...programs(graph)].map(([program, nodes]) => ({
    program: program === 'micro' ? micro : program,
    nodes: stageProgram(graph, nodes, addValue),
  }));
  const snapshot = staged.some(({ program }) => program === 'update')
    ? [{ program: 'snapshot', nodes: snapshotNodes(graph, addValue) }]
    : [];
  return { graph: { ...graph, values }, programs: [...staged, ...snapshot] };
}

function stageProgram(graph: Graph, nodes: readonly Node[], addValue: AddValue): Node[] {
  const inputs = slotsOf(graph, 'input', nodes);
  const outputs = slotsOf(graph, 'output', nodes);
  const stage = (slots: readonly Value[]) =>
    slots.map((slot) => addValue(slot, 'staged', `${slot.name}.staged`));
  const stagedInputs = stage(inputs);
  const working = inputs.map((slot) => addValue(slot, 'intermediate', `${slot.name}.working`));
  const stagedOutputs = stage(outputs);
  const standIn = new Map([
    ...inputs.map(({ id }, i) => [id, working[i]!] as const),
    ...outputs.map(({ id }, i) => [id, stagedOutputs[i]!] as const),
  ]);
  const substitute = (ids: readonly number[]) => ids.map((id) => standIn.get(id) ?? id);
  const touchesSlot = ({ inputs: read, outputs: written }: Node) =>
    read.some((id) => standIn.has(id)) || written.some((id) => standIn.has(id));
  return [
    ...transferNodes('upload', idsOf(inputs), stagedInputs),
    ...transferNodes('copy', stagedInputs, working),
    ...nodes.map((node) =>
      touchesSlot(node)
        ? { ...node, inputs: substitute(node.inputs), outputs: substitute(node.outputs) }
        : node,
    ),
    ...transferNodes('download', stagedOutputs, idsOf(outputs)),
  ];
}

/** Downloads trained parameters and the optimizer's tensors to output slots of the same names. */
function snapshotNodes(graph: Graph, addValue: AddValue): Node[] {
  const tensors = tensorValues(graph).filter(({ role }) => role === 'trained' || role === 'optimizer');
  const slots = tensors.map((tensor) => addValue(tensor, 'output', tensor.name));
  return transferNodes('download', idsOf(tensors), slots);
}

/** One node that moves everything; none where there is nothing to move. */
function transferNodes(op: string, inputs: readonly number[], outputs: readonly number[]): Node[] {
  return inputs.length === 0 ? [] : [{ op, inputs, outputs, attrs: {}, scope: '', phase: 'copy' }];
}

const idsOf = (values: readonly Value[]): number[] => values.map(({ id }) => id);

/** The slots of a kind that the nodes read or write, each once, in the order of the graph. */
function slotsOf(graph: Graph, kind: 'input' | 'output', nodes: readonly Node[]): Value[] {
  const slots = new Set<number>();
  for (const node of nodes)
    for (const id of kind === 'input' ? node.inputs : node.outputs)
      if (getValue(graph, id).kind === kind) slots.add(id);
  return [...slots].sort((a, b) => a - b).map((id) => getValue(graph, id));
}
