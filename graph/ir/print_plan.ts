/** Plans as text, for people: `temper plan RECIPE --print`. */
import { elements } from './graph.js';
import {
  dtypeBytes,
  type OperandGroups,
  type Plan,
  type PlanRecord,
  type PlanSegment,
  streams,
} from './plan.js';

const streamNames = Object.fromEntries(Object.entries(streams).map(([name, number]) => [number, name]));

/** The plan as text: one record a line with its groups by name, arena buffers with their byte ranges. */
export function printPlan(plan: Plan): string {
  const { name, version, digest, arenaBytes, alignment } = plan;
  const lines = Object.entries(plan.programs).flatMap(([program, range]) =>
    plan.segments
      .slice(...range)
      .flatMap((segment) => [
        printSegment(plan, program, segment),
        ...plan.records
          .slice(segment.from, segment.to)
          .map((record, i) => `${String(segment.from + i).padStart(6)}  ${printRecord(plan, record)}`),
      ]),
  );
  const order = plan.step.map(
    ({ program, repeat, optional }) => `${program}${repeat ? '+' : optional ? '?' : ''}`,
  );
  const head = `plan ${name} v${version} ${digest.slice(0, 12)}, arena ${arenaBytes} bytes, aligned to ${alignment}`;
  return `${[head, ...(order.length === 0 ? [] : [`step: ${order.join(' ')}`]), ...lines].join('\n')}\n`;
}

function printSegment(plan: Plan, program: string, { from, to, loop }: PlanSegment): string {
  const times =
    loop === null ? '' : `, as often as ${plan.buffers[loop.count]!.name} says, at most ${loop.max}`;
  return `${program}: records ${from} to ${to}${times}`;
}

function printRecord(plan: Plan, record: PlanRecord): string {
  const { op, attrs, stream, when, phase, scope } = record;
  const groups = (operands: OperandGroups) =>
    Object.entries(operands)
      .map(([name, list]) => `${name}: ${list.map((index) => printBuffer(plan, index)).join(', ')}`)
      .join('; ');
  const events = (list: readonly number[]) => list.map((event) => plan.events[event]).join(', ');
  return [
    `${groups(record.outputs)} = ${op}(${groups(record.inputs)})`,
    ...Object.entries(attrs).map(([key, value]) => `${key}=${JSON.stringify(value)}`),
    `[${[phase, ...(scope === '' ? [] : [scope])].join(' ')}]`,
    ...(stream === streams.compute ? [] : [`on ${streamNames[stream]}`]),
    ...(when === 'always' ? [] : [`when ${when}`]),
    ...(record.waits.length === 0 ? [] : [`waits for ${events(record.waits)}`]),
    ...(record.signals.length === 0 ? [] : [`signals ${events(record.signals)}`]),
  ].join(' ');
}

function printBuffer(plan: Plan, index: number): string {
  const { name, dtype, shape, space, offset, view } = plan.buffers[index]!;
  const bytes = elements(shape) * dtypeBytes[dtype];
  const location = space === 'arena' && view === null ? `@${offset}+${bytes}` : `:${space}`;
  const rows = view === null ? '' : `{rows ${view.row} to ${view.row + shape[0]!}}`;
  return `${name}${rows}[${shape.join('x')}]${dtype}${location}`;
}
