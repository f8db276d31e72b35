import type { DType, Plan, PlanBuffer, PlanRecord } from '../../../graph/ir/plan.js';
import { groupOperands, recordOperands } from '../../../graph/ops/operands.js';
import { opOf } from '../../../graph/ops/registry.js';
import { defaultAlignment } from '../../../graph/passes/liveness.js';
import { joinPrograms } from '../../../graph/passes/plan.js';
import { streamOf } from '../../../graph/passes/plan_events.js';
import { bufferBytes } from '../../../graph/passes/plan_memory.js';

/** Parses `name: dtype[shape]@space`, e.g. `x: f32[2,3]@input` or `a: bf16[4]@arena+64`. */
function parseBuffer(text: string): PlanBuffer {
  const [, name, dtype, shape, space, offset] = /^(\S+): (\w+)\[([\d,]*)\]@(\w+)(?:\+(\d+))?$/.exec(text)!;
  return {
    name: name!,
    dtype: dtype as DType,
    shape: shape === '' ? [] : shape!.split(',').map(Number),
    space: space as PlanBuffer['space'],
    offset: offset === undefined ? null : Number(offset),
    view: null,
  };
}

type RecordText = [op: string, inputs: string[], outputs: string[], attrs?: PlanRecord['attrs']];

/** Builds a record. Without operands it has no groups, whatever its op takes: the engine refuses such plans. */
const record = (
  op: string,
  inputs: number[],
  outputs: number[],
  attrs: PlanRecord['attrs'],
  phase = 'forward',
) => {
  const group = (kind: 'inputs' | 'outputs', list: number[]) =>
    list.length === 0 ? {} : groupOperands(op, recordOperands(opOf(op), attrs)[kind], list);
  const order = { stream: streamOf(op), waits: [], signals: [], when: 'always' as const };
  return {
    op,
    inputs: group('inputs', inputs),
    outputs: group('outputs', outputs),
    attrs,
    ...order,
    phase,
    scope: '',
  };
};

/**
 * Builds a plan from buffers as text and records that name their buffers. Programs are ranges of `records`; each begins with the
 * upload of the input slots that it reads, and ends with the download of the output slots that it writes.
 */
export function tinyPlan(
  buffers: string[],
  records: RecordText[],
  options: { programs?: Record<string, [from: number, to: number]>; arenaBytes?: number } = {},
): Plan {
  const table = buffers.map(parseBuffer);
  let arenaBytes = options.arenaBytes ?? 0;
  const inArena = (index: number, suffix: string): number => {
    const { name, dtype, shape } = table[index]!;
    const offset = Math.ceil(arenaBytes / defaultAlignment) * defaultAlignment;
    arenaBytes = offset + bufferBytes({ dtype, shape });
    return table.push({ name: `${name}.${suffix}`, dtype, shape, space: 'arena', offset, view: null }) - 1;
  };
  const findBuffer = (name: string) => table.findIndex((entry) => entry.name === name);
  const slots = (space: 'input' | 'output', names: string[]) =>
    [...new Set(names.map(findBuffer))].filter((index) => table[index]?.space === space);

  const buildProgram = (lines: RecordText[]): PlanRecord[] => {
    const [inputs, outputs] = [
      slots(
        'input',
        lines.flatMap(([, names]) => names),
      ),
      slots(
        'output',
        lines.flatMap(([, , names]) => names),
      ),
    ];
    const [uploaded, working, computed] = [
      inputs.map((index) => inArena(index, 'staged')),
      inputs.map((index) => inArena(index, 'working')),
      outputs.map((index) => inArena(index, 'staged')),
    ];
    const standIn = (name: string): number => {
      const index = findBuffer(name);
      return working[inputs.indexOf(index)] ?? computed[outputs.indexOf(index)] ?? index;
    };
    const transfer = (op: string, from: number[], to: number[]) =>
      from.length === 0 ? [] : [record(op, from, to, {}, 'copy')];
    return [
      ...transfer('upload', inputs, uploaded),
      ...transfer('copy', uploaded, working),
      ...lines.map(([op, from, to, attrs]) => record(op, from.map(standIn), to.map(standIn), attrs ?? {})),
      ...transfer('download', computed, outputs),
    ];
  };

  const ranges = Object.entries(options.programs ?? { go: [0, records.length] as const });
  const programs = new Map(ranges.map(([name, range]) => [name, buildProgram(records.slice(...range))]));
  return joinPrograms(
    { name: 'tiny', alignment: defaultAlignment, arenaBytes, buffers: table, step: [] },
    programs,
  );
}

/** Returns a plan with w += x in the program `go`, and a copy of w in `snapshot`, ordered by events as the compiler orders them. */
export function snapshotPlan(): Plan {
  const plan = tinyPlan(['w: f32[3]@tensor', 'x: f32[3]@input'], [['add', ['w', 'x'], ['w']]]);
  const [update, slot] = [plan.records.findIndex(({ op }) => op === 'add'), plan.buffers.length];
  const records = plan.records.map((record, index) =>
    index === update ? { ...record, waits: [1], signals: [0] } : record,
  );
  const download = { ...record('download', [0], [slot], {}, 'copy'), waits: [0], signals: [1] };
  const segment = { from: records.length, to: records.length + 1, loop: null };
  return {
    ...plan,
    buffers: [...plan.buffers, parseBuffer('w: f32[3]@output')],
    events: ['updated', 'taken'],
    records: [...records, download],
    segments: [...plan.segments, segment],
    programs: { ...plan.programs, snapshot: [plan.segments.length, plan.segments.length + 1] },
  };
}
