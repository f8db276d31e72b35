/** An object store in memory, and one client's unreliable view of it. */
import { Readable } from 'node:stream';
import { ServiceUnavailable, StorageError } from '../../../shared/errors.js';
import type { Storage, StoredObject } from '../../../shared/storage/index.js';
import type { Random } from '../../support/random.js';
import type { Scheduler } from './scheduler.js';

/** Sees each change at the moment that it takes effect. */
export interface ChangeObserver {
  changing(change: { actor: string; kind: 'write' | 'create' | 'delete'; key: string }): void;
  changed(): void;
}

export class MemoryStore {
  readonly objects = new Map<string, Buffer>();

  constructor(readonly observer: ChangeObserver) {}

  put(actor: string, kind: 'write' | 'create', key: string, data: Buffer): void {
    this.observer.changing({ actor, kind, key });
    this.objects.set(key, data);
    this.observer.changed();
  }

  remove(actor: string, keys: readonly string[]): void {
    for (const key of keys) {
      this.observer.changing({ actor, kind: 'delete', key });
      this.objects.delete(key);
    }
    this.observer.changed();
  }

  keys(prefix: string): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }
}

export interface Faults {
  /** Probability that a read fails. */
  read: number;
  /** Probability that a change fails: before its effect, after it, or with the effect still to come. */
  change: number;
}

export class UnreliableStorage implements Storage {
  readonly uri = 'memory:';
  readonly folder = null;

  constructor(
    readonly store: MemoryStore,
    readonly actor: string,
    readonly scheduler: Scheduler,
    readonly random: Random,
    readonly faults: Faults,
  ) {}

  size(key: string): Promise<number | null> {
    return this.#reads(() => this.store.objects.get(key)?.length ?? null);
  }

  read(key: string): Promise<Buffer> {
    return this.#reads(() => this.#object(key));
  }

  readRange(key: string, start: number, end: number): Promise<Buffer> {
    return this.#reads(() => {
      const object = this.#object(key);
      if (end > object.length) throw new StorageError(`${key}: ends at byte ${object.length}, before ${end}`);
      return Buffer.from(object.subarray(start, end));
    });
  }

  readStream(key: string, start = 0, end?: number): Readable {
    const chunks = async function* (storage: UnreliableStorage) {
      const object = await storage.read(key);
      yield object.subarray(start, end ?? object.length);
    };
    return Readable.from(chunks(this), { objectMode: false });
  }

  async write(key: string, data: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = [];
    if (data instanceof Uint8Array) chunks.push(data);
    else for await (const chunk of data) chunks.push(Buffer.from(chunk));
    const object = Buffer.concat(chunks);
    await this.#changes(key, () => this.store.put(this.actor, 'write', key, object));
  }

  createExclusive(key: string, data: Uint8Array): Promise<boolean> {
    const object = Buffer.from(data);
    return this.#changes(key, () => {
      if (this.store.objects.has(key)) return false;
      this.store.put(this.actor, 'create', key, object);
      return true;
    });
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    const keys = await this.#reads(() => this.store.keys(prefix));
    for (const key of keys) yield { key };
  }

  async *unfinished(): AsyncIterable<never> {}

  delete(key: string): Promise<void> {
    return this.#changes(key, () => this.store.remove(this.actor, [key]));
  }

  async deletePrefix(prefix: string): Promise<void> {
    for await (const { key } of this.list(prefix)) await this.delete(key);
  }

  at(): Storage {
    throw new Error('the simulated runs have no storage within the storage');
  }

  #object(key: string): Buffer {
    const object = this.store.objects.get(key);
    if (object === undefined) throw new StorageError(`${key}: there is no such object`);
    return object;
  }

  async #reads<T>(lookUp: () => T): Promise<T> {
    await this.scheduler.turn(this.actor);
    if (this.random.chance(this.faults.read)) throw new ServiceUnavailable('the read failed');
    return lookUp();
  }

  async #changes<T>(key: string, change: () => T): Promise<T> {
    await this.scheduler.turn(this.actor);
    const fault = this.random.chance(this.faults.change) ? this.random.below(3) : null;
    if (fault === 0) throw new ServiceUnavailable(`${key}: the request was lost`);
    if (fault === 1) {
      this.scheduler.later(() => void change());
      throw new ServiceUnavailable(`${key}: timed out, with the request still on its way`);
    }
    const answer = change();
    await this.scheduler.turn(this.actor);
    if (fault === 2) throw new ServiceUnavailable(`${key}: the answer was lost`);
    return answer;
  }
}
