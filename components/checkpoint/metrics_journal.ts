/**
 * `metrics.jsonl`: one line for each step, one for each validation and one for each evaluation of tasks, however often the
 * run was interrupted. A generation writes its own lines live to `g<generation>/metrics.jsonl`, and the merged file
 * beside `run.json`. Tasks are evaluated outside of generations, and their lines are in the merged file alone.
 *
 * Merging: of each line that several generations wrote, the newest counts; and what an older generation wrote for steps
 * after the commit from which the newer one went on is dropped, because those steps were lost.
 */
import { appendFile, type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import type { StepMetrics, TaskMetrics, ValidationMetrics } from '../../contracts/index.js';
import type { Storage } from '../../shared/storage/index.js';

export type MetricsLine = StepMetrics | ValidationMetrics | TaskMetrics;

const mergedKey = 'metrics.jsonl';
const liveKey = (generation: number): string => `g${generation}/metrics.jsonl`;

/** An object store has no append: its files are written anew, this often at most. */
const rewriteSeconds = 15;

export interface JournalOptions {
  /** Storage of the run's folder. */
  run: Storage;
  generation: number;
  /** Step of the commit from which this generation went on; 0 when it began. */
  resumedStep: number;
}

/** Newest step that any earlier generation wrote down; null where none did. */
export async function lastJournaledStep(run: Storage, generation: number): Promise<number | null> {
  let last: number | null = null;
  for (const older of await olderGenerations(run, generation)) {
    for (const line of parseLines(await run.read(liveKey(older)))) {
      // A generation that went back did so because what followed was lost already.
      if (isStep(line)) last = line.step;
    }
  }
  return last;
}

/** Adds a line about tasks while a generation writes: an object store, which cannot append, gets it when all is settled. */
export async function appendTaskMetrics(run: Storage, line: TaskMetrics): Promise<void> {
  if (run.folder !== null) await appendFile(path.join(run.folder, mergedKey), `${JSON.stringify(line)}\n`);
}

/** Makes these the only lines about tasks in the merged file, each behind its step. No generation may be writing. */
export async function settleTaskMetrics(run: Storage, lines: readonly TaskMetrics[]): Promise<void> {
  const merged = await readMerged(run);
  const others = merged.filter((line) => order(line) !== 2);
  await run.write(mergedKey, encodeLines([...others, ...lines].sort(byStep)));
}

async function readMerged(run: Storage): Promise<MetricsLine[]> {
  return (await run.size(mergedKey)) === null ? [] : parseLines(await run.read(mergedKey));
}

/** Where one generation's lines go. Errors of writing come out of the next `flush`. */
export class MetricsJournal {
  #work: Promise<void> = Promise.resolve();
  #failure: { error: unknown } | null = null;

  private constructor(private readonly sink: LineSink) {}

  /** Rebuilds the merged file from what older generations wrote, and opens both for this one. */
  static async open(options: JournalOptions): Promise<MetricsJournal> {
    const { run, generation } = options;
    const tasks = (await readMerged(run)).filter((line) => order(line) === 2);
    const kept = tasks.filter(({ step }) => step <= options.resumedStep);
    const earlier = [...(await mergeGenerations(options)), ...kept].sort(byStep);
    const text = encodeLines(earlier).toString();
    await run.write(mergedKey, Buffer.from(text));
    await run.write(liveKey(generation), Buffer.alloc(0));
    const sink =
      run.folder === null
        ? new RewrittenLines(run, generation, text)
        : await AppendedLines.open(run.folder, generation);
    return new MetricsJournal(sink);
  }

  append(line: MetricsLine): void {
    const text = `${JSON.stringify(line)}\n`;
    this.#enqueue(() => this.sink.append(text));
  }

  /** Makes every line so far durable: a commit whose steps are not in the journal would leave a gap for ever. */
  async flush(): Promise<void> {
    this.#enqueue(() => this.sink.flush());
    await this.#work;
    const failure = this.#failure;
    this.#failure = null;
    if (failure !== null) throw failure.error;
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.sink.close();
    }
  }

  #enqueue(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error: unknown) => {
      this.#failure ??= { error };
    });
  }
}

interface LineSink {
  append(text: string): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}

class AppendedLines implements LineSink {
  private constructor(private readonly files: readonly FileHandle[]) {}

  static async open(folder: string, generation: number): Promise<AppendedLines> {
    const keys = [liveKey(generation), mergedKey];
    return new AppendedLines(await Promise.all(keys.map((key) => open(path.join(folder, key), 'a'))));
  }

  async append(text: string): Promise<void> {
    for (const file of this.files) await file.appendFile(text);
  }

  async flush(): Promise<void> {
    for (const file of this.files) await file.datasync();
  }

  async close(): Promise<void> {
    for (const file of this.files) await file.close();
  }
}

class RewrittenLines implements LineSink {
  #lines = '';
  #written = 0;
  #due = 0;

  constructor(
    private readonly run: Storage,
    private readonly generation: number,
    private readonly earlier: string,
  ) {}

  async append(text: string): Promise<void> {
    this.#lines += text;
    if (performance.now() >= this.#due) await this.flush();
  }

  async flush(): Promise<void> {
    this.#due = performance.now() + rewriteSeconds * 1000;
    if (this.#written === this.#lines.length) return;
    const { length } = this.#lines;
    await this.run.write(liveKey(this.generation), Buffer.from(this.#lines));
    await this.run.write(mergedKey, Buffer.from(this.earlier + this.#lines));
    this.#written = length;
  }

  async close(): Promise<void> {}
}

async function mergeGenerations({ run, generation, resumedStep }: JournalOptions): Promise<MetricsLine[]> {
  let merged: MetricsLine[] = [];
  for (const older of await olderGenerations(run, generation)) {
    const lines = parseLines(await run.read(liveKey(older)));
    // A generation's first step follows the commit that it went on from.
    const first = lines.find(isStep);
    merged = supersede(merged, lines, first === undefined ? null : first.step - 1);
  }
  return supersede(merged, [], resumedStep);
}

function supersede(
  older: readonly MetricsLine[],
  newer: readonly MetricsLine[],
  resumedStep: number | null,
): MetricsLine[] {
  const named = new Set(newer.map(nameOf));
  const kept = older.filter(
    (line) => (resumedStep === null || line.step <= resumedStep) && !named.has(nameOf(line)),
  );
  return [...kept, ...newer];
}

/** Generations before this one that wrote a journal, oldest first. */
async function olderGenerations(run: Storage, generation: number): Promise<number[]> {
  const found: number[] = [];
  for await (const { key } of run.list('g')) {
    const number = Number(/^g(\d+)\/metrics\.jsonl$/.exec(key)?.[1] ?? generation);
    if (number < generation) found.push(number);
  }
  return found.sort((a, b) => a - b);
}

/** Lines that are whole: the last one of a process that was killed may not be. */
function parseLines(bytes: Buffer): MetricsLine[] {
  return bytes
    .toString('utf8')
    .split('\n')
    .flatMap((text) => {
      try {
        const line = JSON.parse(text) as MetricsLine | null;
        return typeof line?.step === 'number' ? [line] : [];
      } catch {
        return [];
      }
    });
}

function isStep(line: MetricsLine): line is StepMetrics {
  return 'loss' in line;
}

/** A step, then its validation, then its tasks. */
function order(line: MetricsLine): number {
  if (isStep(line)) return 0;
  return 'val_loss' in line ? 1 : 2;
}

const byStep = (a: MetricsLine, b: MetricsLine): number => a.step - b.step || order(a) - order(b);

function encodeLines(lines: readonly MetricsLine[]): Buffer {
  return Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

function nameOf(line: MetricsLine): string {
  return `${order(line)}:${line.step}`;
}
