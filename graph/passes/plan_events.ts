/**
 * Streams and events of transfers. Everything else runs on the compute stream, in list order; what a transfer must wait for,
 * and what must wait for it, is an event, which the next run of the program and other programs wait for as well.
 */
import { type PlanRecord, type Stream, streams } from '../ir/plan.js';

const transferStreams: Readonly<Record<string, Stream>> = {
  upload: streams.upload,
  download: streams.download,
};

/** The stream of an op's records. */
export const streamOf = (op: string): Stream => transferStreams[op] ?? streams.compute;

/**
 * Orders uploads and downloads with the records that touch the same buffers. Adds to `waits` and `signals` of the records
 * and returns the names of the events:
 *
 * - `<program>.uploaded`: `copy` may read what `upload` staged; `<program>.staged_free`: the next `upload` may overwrite it.
 * - `<program>.computed`: `download` may read what was staged; `<program>.downloaded`: the next run may overwrite it.
 * - `<program>.done`: the program has written tensors that `snapshot` reads; `snapshot.taken`: it may write them again.
 */
export function orderTransfers(programs: ReadonlyMap<string, readonly PlanRecord[]>): string[] {
  const events: string[] = [];
  const link = (name: string, from: PlanRecord, to: PlanRecord) => {
    if (!events.includes(name)) events.push(name);
    from.signals.push(events.indexOf(name));
    to.waits.push(events.indexOf(name));
  };
  for (const [program, records] of programs) {
    const upload = records.find(({ op }) => op === 'upload');
    const copy = records.find(({ op }) => op === 'copy');
    if (upload !== undefined && copy !== undefined) {
      link(`${program}.uploaded`, upload, copy);
      link(`${program}.staged_free`, copy, upload);
    }
    const download = records.find(({ op }) => op === 'download');
    if (download === undefined) continue;
    for (const [writing, others] of programs) {
      const writers = writersOf(download, others);
      if (writers.length === 0) continue;
      const isOwn = writing === program;
      link(isOwn ? `${program}.computed` : `${writing}.done`, writers.at(-1)!, download);
      link(isOwn ? `${program}.downloaded` : `${program}.taken`, download, writers[0]!);
    }
  }
  return events;
}

/** Records that write what `download` reads, in list order. */
function writersOf(download: PlanRecord, records: readonly PlanRecord[]): PlanRecord[] {
  const sources = new Set(Object.values(download.inputs).flat());
  return records.filter(({ outputs }) =>
    Object.values(outputs).some((group) => group.some((i) => sources.has(i))),
  );
}
