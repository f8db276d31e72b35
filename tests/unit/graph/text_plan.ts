/** Small plans by hand, as text. */
import {
  type OperandGroups,
  type Plan,
  type PlanBuffer,
  type PlanRecord,
  type PlanSegment,
  type Stream,
  streams,
} from '../../../graph/ir/plan.js';

interface RecordText {
  op: string;
  inputs: Record<string, string[]>;
  outputs: Record<string, string[]>;
  attrs?: PlanRecord['attrs'];
  stream?: keyof typeof streams;
  waits?: string[];
  signals?: string[];
  when?: PlanRecord['when'];
}

/** `name: dtype[shape]@space`, `a: bf16[4]@arena+64`, or a window `w: f32[2,3]@base[1]`. */
function buffer(text: string, names: readonly string[]): PlanBuffer {
  const [, name, dtype, shape, where, offset, row] =
    /^(\S+): (\w+)\[([\d,]*)\]@(\w+)(?:\+(\d+))?(?:\[(\d+)\])?$/.exec(text)!;
  const of = row === undefined ? -1 : names.indexOf(where!);
  return {
    name: of < 0 ? name! : where!,
    dtype: dtype as PlanBuffer['dtype'],
    shape: shape === '' ? [] : shape!.split(',').map(Number),
    space: of < 0 ? (where as PlanBuffer['space']) : 'tensor',
    offset: offset === undefined ? null : Number(offset),
    view: of < 0 ? null : { of, row: Number(row) },
  };
}

/** A plan whose records name their buffers and events. Each program is a list of segments, a segment a list of records. */
export function textPlan(
  buffers: string[],
  programs: Record<string, { loop?: string; records: RecordText[] }[]>,
  options: { arenaBytes?: number; step?: Plan['step'] } = {},
): Plan {
  const names = buffers.map((text) => text.split(':')[0]!);
  const index = (name: string): number => {
    const position = names.indexOf(name);
    if (position < 0) throw new TypeError(`there is no buffer '${name}'`);
    return position;
  };
  const table = buffers.map((text) => buffer(text, names));
  const events: string[] = [];
  const event = (name: string): number => {
    if (!events.includes(name)) events.push(name);
    return events.indexOf(name);
  };
  const groups = (by: Record<string, string[]>): OperandGroups =>
    Object.fromEntries(Object.entries(by).map(([name, list]) => [name, list.map(index)]));
  const records: PlanRecord[] = [];
  const segments: PlanSegment[] = [];
  const ranges: Plan['programs'] = {};
  for (const [name, parts] of Object.entries(programs)) {
    const first = segments.length;
    for (const part of parts) {
      const from = records.length;
      for (const text of part.records) {
        records.push({
          op: text.op,
          inputs: groups(text.inputs),
          outputs: groups(text.outputs),
          attrs: text.attrs ?? {},
          stream: streams[text.stream ?? 'compute'] as Stream,
          waits: (text.waits ?? []).map(event),
          signals: (text.signals ?? []).map(event),
          when: text.when ?? 'always',
          phase: 'forward',
          scope: '',
        });
      }
      const loop = part.loop === undefined ? null : { count: index(part.loop), max: 8 };
      segments.push({ from, to: records.length, loop });
    }
    ranges[name] = [first, segments.length];
  }
  return {
    version: 2,
    digest: 'text',
    name: 'text',
    alignment: 64,
    arenaBytes: options.arenaBytes ?? 256,
    buffers: table,
    events,
    records,
    segments,
    programs: ranges,
    step: options.step ?? [],
  };
}
