import { UsageError } from './errors.js';

/**
 * A registry of what a recipe may name, of one kind: dataset types, tasks, optimizers, model families, … Entries are
 * found by their names; the program's own are there from the start, and an operator's configuration registers more.
 *
 * @example
 * const tasks = new Registry<TaskDefinition>('task', ({ type }) => type, [hellaswag, squad]);
 * tasks.register(mine);
 */
export class Registry<Entry> {
  readonly #what: string;
  readonly #nameOf: (entry: Entry) => string;
  readonly #entries = new Map<string, Entry>();

  /** @param what an entry is called in errors, e.g. `dataset type` */
  constructor(what: string, nameOf: (entry: Entry) => string, entries: readonly Entry[] = []) {
    this.#what = what;
    this.#nameOf = nameOf;
    for (const entry of entries) this.register(entry);
  }

  /** Adds an entry. @throws UsageError when there is one of that name: two meanings of one word help nobody */
  register(entry: Entry): void {
    const name = this.#nameOf(entry);
    if (this.#entries.has(name)) throw new UsageError(`the ${this.#what} '${name}' is registered twice`);
    this.#entries.set(name, entry);
  }

  /** Returns the entry of a name. @throws UsageError that lists the known ones */
  find(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    throw new UsageError(`unknown ${this.#what} '${name}'; known are ${this.names.join(', ')}`);
  }

  /** The entries, in the order in which they were registered. */
  get entries(): Entry[] {
    return [...this.#entries.values()];
  }

  get names(): string[] {
    return [...this.#entries.keys()];
  }
}
