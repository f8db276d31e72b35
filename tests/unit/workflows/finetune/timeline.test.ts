import { type TimelineEntry, timelineEntrySchema, timelineWindow } from '../../../../contracts/index.js';
import { Timeline } from '../../../../workflows/finetune/timeline.js';

const entry = (event: TimelineEntry['event'], detail = ''): Omit<TimelineEntry, 'number'> => ({
  at: '2026-01-01T00:00:00.000Z',
  event,
  generation: 1,
  step: 1,
  detail,
  detectedAfter: null,
  capacityAfter: null,
  loadedAfter: null,
  firstStepAfter: null,
  stepsLost: null,
  exactness: null,
});

function open(write?: (entries: TimelineEntry[]) => Promise<number>) {
  const writtenEntries: TimelineEntry[] = [];
  const store = async (entries: TimelineEntry[]) => {
    writtenEntries.push(...entries);
    return entries.at(-1)!.number;
  };
  const interruptions = { preempted: 0, rank_lost: 0, host_lost: 0, error_retried: 0 };
  const state = { timeline: [], timelineWritten: 0, interruptions, interruption: null, comingUp: null };
  return { timeline: new Timeline(state, write ?? store), writtenEntries };
}

test('after 3,000 interruptions and 10,000 epochs the state is below 200 kB, and every entry was written', async () => {
  const { timeline, writtenEntries } = open();
  for (let count = 0; count < 10_000; count += 1) {
    timeline.add(entry('epoch_finished', 'end of epoch'));
    if (count < 3000) timeline.add(entry('rank_lost', 'x'.repeat(5000)));
    await timeline.flush();
  }
  expect(JSON.stringify(timeline.state).length).toBeLessThan(200_000);
  expect(timeline.state.interruptions.rank_lost).toBe(3000);
  await timeline.flush({ all: true });
  expect(writtenEntries.map(({ number }) => number)).toEqual(
    Array.from({ length: 13_000 }, (_, index) => index + 1),
  );
});

test('an entry that the next generation completes, and those after it, are written once it is complete', async () => {
  const { timeline, writtenEntries } = open();
  for (let count = 0; count < 30; count += 1) timeline.add(entry('epoch_finished'));
  const number = timeline.add(entry('preempted'));
  timeline.state.interruption = { entry: number, noticedAt: '2026-01-01T00:00:00.000Z', step: 1 };
  for (let count = 0; count < 30; count += 1) timeline.add(entry('unpaused'));
  await timeline.flush();
  expect(writtenEntries).toHaveLength(30);
  timeline.complete(number, { stepsLost: 4 });
  timeline.state.interruption = null;
  await timeline.flush();
  expect(writtenEntries[30]).toMatchObject({ event: 'preempted', stepsLost: 4 });
});

test('after a write whose answer was lost, only the entries that are missing are written', async () => {
  const batches: number[][] = [];
  const { timeline } = open(async (entries) => {
    batches.push(entries.map(({ number }) => number));
    // The first write finds a file with two entries.
    return batches.length === 1 ? 2 : entries.at(-1)!.number;
  });
  for (let count = 0; count < 3; count += 1) timeline.add(entry('paused'));
  await timeline.flush({ all: true });
  expect(batches).toEqual([[1, 2, 3], [3]]);
});

test('a failed write of the timeline is repeated by the next flush', async () => {
  let fails = true;
  const batches: number[][] = [];
  const { timeline } = open(async (entries) => {
    if (fails) throw new Error('EIO');
    batches.push(entries.map(({ number }) => number));
    return entries.at(-1)!.number;
  });
  timeline.add(entry('admitted'));
  await expect(timeline.flush({ all: true })).rejects.toThrow('EIO');
  fails = false;
  await timeline.flush({ all: true });
  expect(batches).toEqual([[1]]);
});

test('a long detail of a timeline entry is cut, and the entry stays valid', () => {
  const { timeline } = open();
  timeline.add(entry('rank_lost', 'x'.repeat(5000)));
  const [entryWithDetail] = timeline.state.timeline;
  expect(timelineEntrySchema.parse(entryWithDetail).detail.length).toBeLessThan(600);
  expect(timelineWindow).toBe(100);
});
