/**
 * The invariants after every change of the store, checked on the bytes of the log by a second, independent reader:
 *
 * - no file that a live commit names is missing or has another length;
 * - no commit follows an entry of a newer generation or a claim, and a generation that commits a step twice names the same files;
 * - a retirement keeps no step twice;
 * - a resume whose generation is the newest finds the newest live commit, undamaged;
 * - a process whose generation is not the newest neither writes nor deletes a file that a live commit names.
 */
import type { CheckpointEntry, CommitEntry, StepMetrics } from '../../../contracts/index.js';
import { type ChangeObserver, MemoryStore } from './memory_storage.js';

export class Violation extends Error {}

export class Invariants implements ChangeObserver {
  readonly store = new MemoryStore(this);
  /** The generation that each actor holds or held. */
  readonly generations = new Map<string, number>();
  readonly trace: string[] = [];
  /** The log and the live files that follow from it: entries never change, so both hold until one is added. */
  #log: readonly CommitEntry[] = [];
  #liveFiles: ReadonlyMap<string, { bytes: number | null; sequence: number }> = new Map();

  /** The first violation, kept because the code under test may catch the error that reports it. */
  violation: string | null = null;

  changing({ actor, kind, key }: { actor: string; kind: string; key: string }): void {
    this.trace.push(`${actor} (generation ${this.generations.get(actor) ?? '-'}): ${kind} ${key}`);
    if (!this.#liveFiles.has(key)) return;
    const generation = this.generations.get(actor);
    if (generation === undefined || this.#isFenced(generation))
      this.#fail(`${actor}, which is fenced, would ${kind} ${key}, which a live commit names`);
  }

  changed(): void {
    const keys = this.store.keys('commits/');
    if (keys.length > this.#log.length) {
      this.#log = keys.map((key, index) => this.#log[index] ?? this.#readEntry(key));
      this.#liveFiles = this.#findLiveFiles();
      this.#checkOrder();
    }
    for (const [file, { bytes, sequence }] of this.#liveFiles) {
      const object = this.store.objects.get(file);
      if (object === undefined) this.#fail(`commit ${sequence} is live, but ${file} is missing`);
      if (bytes !== null && object?.length !== bytes)
        this.#fail(`commit ${sequence}: ${file} has ${object?.length} bytes`);
    }
  }

  #fail(message: string): never {
    this.violation ??= message;
    throw new Violation(message);
  }

  /** Checks a resume. One that was overtaken meanwhile may have loaded anything: it can never commit. */
  checkResume(generation: number, entry: CheckpointEntry | null, damage: readonly unknown[]): void {
    if (this.#isFenced(generation)) return;
    const newest = this.liveCheckpoints().at(-1) ?? null;
    if (entry?.id !== newest?.id || damage.length > 0) {
      this.#fail(
        `generation ${generation} resumed from commit ${entry?.sequence}, but the newest is ${newest?.sequence}; damage ${JSON.stringify(damage)}`,
      );
    }
  }

  /** Checks a store that no process uses any more, after a generation that committed undisturbed. */
  checkLeftovers(): void {
    for (const key of this.store.keys('g')) {
      if (key.includes('/step-') && !this.#liveFiles.has(key)) this.#fail(`${key} was left behind`);
    }
    this.#checkMetrics();
  }

  /** Checks that each step is in metrics.jsonl once, written by the generation whose checkpoint the run continues. */
  #checkMetrics(): void {
    const text = this.store.objects.get('metrics.jsonl')!.toString('utf8').trim();
    const steps = text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as StepMetrics);
    const lastStep = this.liveCheckpoints().at(-1)!.trainer.step;
    const numbers = steps.map(({ step }) => step);
    if (numbers.join() !== Array.from({ length: lastStep }, (_, index) => index + 1).join())
      this.#fail(`metrics.jsonl has the steps ${numbers} of 1 to ${lastStep}`);
    for (const { step, generation } of steps) {
      const author = this.#findAuthor(step);
      if (author !== generation)
        this.#fail(`step ${step}: its line is of generation ${generation}, not ${author}`);
    }
  }

  /** Returns the generation that trained a step, by following the resumes back from the newest checkpoint. */
  #findAuthor(step: number): number {
    for (let entry = this.liveCheckpoints().at(-1)!; ; ) {
      const { resumedFrom } = entry;
      const origin = this.#log.find(({ sequence }) => sequence === resumedFrom);
      if (origin?.kind !== 'checkpoint' || origin.trainer.step < step) return entry.generation;
      entry = origin;
    }
  }

  /** Returns the live checkpoints, oldest first. */
  liveCheckpoints(): CheckpointEntry[] {
    const log = this.#log;
    const retirementIndex = log.findLastIndex(({ kind }) => kind === 'retirement');
    const retirement = log[retirementIndex];
    return log.filter((entry, index): entry is CheckpointEntry => {
      if (entry.kind !== 'checkpoint') return false;
      return (
        index > retirementIndex ||
        (retirement?.kind === 'retirement' && retirement.keep.includes(entry.sequence))
      );
    });
  }

  #checkOrder(): void {
    let generation = 0;
    let followsClaim = false;
    const filesByStep = new Map<string, string>();
    for (const entry of this.#log) {
      if (entry.generation < generation) {
        this.#fail(
          `entry ${entry.sequence} of generation ${entry.generation} follows generation ${generation}`,
        );
      }
      generation = entry.generation;
      if (followsClaim && entry.kind !== 'claim' && entry.kind !== 'generation')
        this.#fail(`entry ${entry.sequence} follows a claim, with no generation between`);
      followsClaim = entry.kind === 'claim';
      if (entry.kind === 'retirement') this.#checkKept(entry.keep);
      if (entry.kind !== 'checkpoint') continue;
      const step = `generation ${entry.generation}, step ${entry.trainer.step}`;
      const files = namedFiles(entry).join();
      if ((filesByStep.get(step) ?? files) !== files)
        this.#fail(`${step}: committed twice, with other files`);
      filesByStep.set(step, files);
    }
  }

  #checkKept(keep: readonly number[]): void {
    const steps = this.#log.flatMap((entry) =>
      entry.kind === 'checkpoint' && keep.includes(entry.sequence) ? [entry.trainer.step] : [],
    );
    if (new Set(steps).size < steps.length) this.#fail(`two commits of one step are kept: ${keep}`);
  }

  /** Returns true when a newer generation was taken, or the run was claimed since. */
  #isFenced(generation: number): boolean {
    const newest = this.#log.findLast(({ kind }) => kind === 'claim' || kind === 'generation');
    return newest?.kind !== 'generation' || newest.generation > generation;
  }

  #findLiveFiles(): Map<string, { bytes: number | null; sequence: number }> {
    const files = new Map<string, { bytes: number | null; sequence: number }>();
    for (const { sequence, files: named } of this.liveCheckpoints()) {
      for (const { file, bytes } of named) {
        files.set(file, { bytes, sequence });
        files.set(file.replace(/\.safetensors$/, '.json'), { bytes: null, sequence });
      }
    }
    return files;
  }

  #readEntry(key: string): CommitEntry {
    return (JSON.parse(this.store.objects.get(key)!.toString('utf8')) as { entry: CommitEntry }).entry;
  }
}

function namedFiles({ files }: CheckpointEntry): string[] {
  return files.map(({ file }) => file);
}
