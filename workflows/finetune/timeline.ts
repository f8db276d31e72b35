/**
 * The timeline of a run. The workflow's state holds the newest entries and counters, so that it stays small however
 * long the run lives; every entry goes to the run's folder once it is complete.
 */
import { timelineWindow } from '../../contracts/names.js';
import type { RunState } from '../../contracts/run_state.js';
import type { InterruptionEvent, TimelineEntry } from '../../contracts/timeline.js';

/** Complete entries that wait for the next write: each write is an activity. */
const batch = 25;
/** Characters of an entry's detail. */
const longestDetail = 500;

/** Writes consecutive entries and returns the number of the newest that is then in the run's folder. */
export type WriteEntries = (entries: TimelineEntry[]) => Promise<number>;

type TimelineState = Pick<
  RunState,
  'timeline' | 'timelineWritten' | 'interruptions' | 'interruption' | 'comingUp'
>;

export class Timeline {
  #writing: Promise<void> = Promise.resolve();

  constructor(
    readonly state: TimelineState,
    readonly write: WriteEntries,
  ) {}

  /** Adds an entry and returns its number. */
  add(entry: Omit<TimelineEntry, 'number'>): number {
    const { state } = this;
    const number = (state.timeline.at(-1)?.number ?? 0) + 1;
    const detail =
      entry.detail.length > longestDetail ? `${entry.detail.slice(0, longestDetail)}…` : entry.detail;
    state.timeline.push({ number, ...entry, detail });
    if (entry.event in state.interruptions) state.interruptions[entry.event as InterruptionEvent] += 1;
    // An entry that storage refused for so long is given up: the gap in the numbers shows it.
    if (state.timeline.length > timelineWindow) state.timeline.shift();
    return number;
  }

  /** Fills in what became known of an entry. Nothing happens when it has left the window. */
  complete(number: number, details: Partial<TimelineEntry>): void {
    const entry = this.state.timeline.find((candidate) => candidate.number === number);
    if (entry !== undefined) Object.assign(entry, details);
  }

  /** Writes complete entries when there are many of them; `all` writes every entry there is. */
  flush({ all = false } = {}): Promise<void> {
    // One after the other: each write begins where the one before it has ended.
    this.#writing = this.#writing.catch(() => undefined).then(() => this.#flush(all));
    return this.#writing;
  }

  async #flush(all: boolean): Promise<void> {
    const { state } = this;
    for (;;) {
      const end = all ? Number.POSITIVE_INFINITY : this.#firstOpen();
      const entries = state.timeline.filter(({ number }) => number > state.timelineWritten && number < end);
      if (entries.length < (all ? 1 : batch)) return;
      state.timelineWritten = await this.write(entries);
    }
  }

  /** Returns the number of the oldest entry that the starting generation may still complete. */
  #firstOpen(): number {
    const { interruption, comingUp } = this.state;
    const open = [interruption?.entry, comingUp?.granted];
    return Math.min(...open.map((number) => number ?? Number.POSITIVE_INFINITY));
  }
}
