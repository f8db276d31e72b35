/**
 * `metrics.csv` in the run's folder, for spreadsheets: a row for each step, with its validation and tasks in the same
 * row.
 */
import { z } from 'zod';
import type { Logger, LoggerDefinition } from './definition.js';

const file = 'metrics.csv';

const schema = z
  .strictObject({ name: z.literal('csv') })
  .describe('metrics.csv in output_dir: a row for each step, with its validation and tasks in the same row');

type Row = Record<string, string>;

export const csv: LoggerDefinition = {
  name: 'csv',
  schema,
  async open(_options, { storage, isNew }): Promise<Logger> {
    const rows = new Map<number, Row>();
    if (!isNew && (await storage.size(file)) !== null) {
      for (const row of parse((await storage.read(file)).toString('utf8'))) rows.set(Number(row.step), row);
    }
    const add = ({ step, ...metrics }: { step: number; [metric: string]: number }) => {
      const entries = Object.entries(metrics).map(([metric, value]) => [metric, String(value)]);
      // A row is found by its step: metrics that come a second time change nothing.
      rows.set(step, { ...rows.get(step), step: String(step), ...Object.fromEntries(entries) });
    };
    return {
      step: add,
      // The time of a row is that of its step.
      validation: ({ timestamp: _, generation: __, ...losses }) => add(losses as { step: number }),
      tasks: ({ timestamp: _, ...scores }) => add(scores as { step: number }),
      flush: () => storage.write(file, Buffer.from(print([...rows.values()]))),
      close: async () => {},
    };
  },
};

/** Formats the table. Names of metrics and numbers need no quotes. */
function print(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const sortedRows = rows.toSorted((a, b) => Number(a.step) - Number(b.step));
  const lines = sortedRows.map((row) => columns.map((column) => row[column] ?? ''));
  return [columns, ...lines].map((cells) => `${cells.join(',')}\n`).join('');
}

function parse(text: string): Row[] {
  const [head, ...lines] = text.split('\n').filter((line) => line !== '');
  const columns = head?.split(',') ?? [];
  return lines.map((line) => {
    const cells = line.split(',').map((cell, index) => [columns[index]!, cell] as const);
    return Object.fromEntries(cells.filter(([, cell]) => cell !== ''));
  });
}
