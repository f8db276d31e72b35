/** Text generation on token ids, by an ONNX model in a process of its own. */
import { DataError, GeneratorLost } from '../../shared/errors.js';
import { Conversation } from '../../shared/processes/forked_process.js';
import {
  type Command,
  eventSchema,
  type Generated,
  type GenerationRequest,
  requestSchema,
  type SessionEvent,
} from './protocol.js';

export interface GeneratorOptions {
  /** `model.onnx` with its external data next to it. */
  onnx: string;
  /** Tokens that end an answer; they are not part of it. */
  eosTokenIds: readonly number[];
  /** Tokens that prompt and answer may come to together. */
  contextLength: number;
  threads: number;
  /** Requests that decode together; 16 (as left out) gives 1.6 × the tokens per second of 8, and 32 no more. */
  batchSize?: number;
  /** Bytes of keys and values that decode together, unless a single request needs more. */
  cacheBytes?: number;
  /**
   * A prompt continues from the keys and values of the request before it, as far as both are alike: a conversation then
   * runs only its last message. Left out it does not, so that an answer never depends on what was asked before.
   */
  reusePrompts?: boolean;
}

export interface GenerateHooks {
  /** Each token as it comes; true ends its request with it. */
  onToken?: (request: number, id: number) => boolean;
  /** Ends everything, and `generate` rejects with its reason. */
  signal?: AbortSignal;
}

const program = new URL('./session_process.js', import.meta.url);

/**
 * @example
 * const generator = await Generator.open({ onnx, eosTokenIds: [2], contextLength: 8192, threads: 2 });
 * const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0, stream: 0 };
 * const [answer] = await generator.generate([{ ids: [1, 5, 9], maxNewTokens: 64, sampling }]);
 * await generator.close();
 */
export class Generator {
  #session: Promise<Session> | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  readonly #options: Required<GeneratorOptions>;

  private constructor(options: Required<GeneratorOptions>) {
    this.#options = options;
  }

  /**
   * Loads the model.
   * @throws ModelError when ONNX Runtime cannot
   */
  static async open(options: GeneratorOptions): Promise<Generator> {
    const generator = new Generator({ batchSize: 16, cacheBytes: 1 << 30, reusePrompts: false, ...options });
    await generator.#process();
    return generator;
  }

  /** Number of the process, once it is there. */
  async pid(): Promise<number | null> {
    return (await this.#process()).pid;
  }

  /**
   * Returns an answer for each request, in their order. Calls take turns.
   * @throws DataError for a request that the model cannot take, and GeneratorLost when the process exits
   */
  generate(requests: readonly GenerationRequest[], hooks: GenerateHooks = {}): Promise<Generated[]> {
    const generated = this.#turn.then(() => this.#generateNow(requests, hooks));
    this.#turn = generated.catch(() => undefined);
    return generated;
  }

  /**
   * Returns log p(token i+1 | ≤ i) of each document, n − 1 numbers for n tokens. Takes its turn among the calls of
   * `generate`.
   * @throws GeneratorLost when the process exits
   */
  logprobs(documents: readonly (readonly number[])[]): Promise<Float64Array[]> {
    const scored = this.#turn.then(async () => (await this.#process()).logprobs(documents));
    this.#turn = scored.catch(() => undefined);
    return scored;
  }

  async close(): Promise<void> {
    const session = await this.#session?.catch(() => null);
    this.#session = null;
    await session?.kill();
  }

  async #generateNow(requests: readonly GenerationRequest[], hooks: GenerateHooks): Promise<Generated[]> {
    hooks.signal?.throwIfAborted();
    const session = await this.#process();
    const checked = requests.map((request, number) => this.#check(request, number, session.vocabularySize));
    if (checked.length === 0) return [];
    const { batchSize, cacheBytes, contextLength, eosTokenIds, reusePrompts } = this.#options;
    const limits = { batchSize, cacheBytes, contextLength, eosTokenIds: [...eosTokenIds], reusePrompts };
    return session.generate({ requests: checked, ...limits }, hooks);
  }

  #check(request: GenerationRequest, number: number, vocabularySize: number): GenerationRequest {
    const result = requestSchema.safeParse(request);
    const refuse = (why: string) => new DataError(`request ${number + 1}: ${why}`);
    if (!result.success) {
      const [issue] = result.error.issues;
      throw refuse(`${issue!.path.join('.')}: ${issue!.message}`);
    }
    const { ids } = result.data;
    if (ids.length === 0) throw refuse('the prompt has no tokens');
    if (ids.length >= this.#options.contextLength)
      throw refuse(
        `the prompt of ${ids.length} tokens leaves no room for an answer in the model's context of ${this.#options.contextLength}`,
      );
    const foreign = ids.find((id) => id >= vocabularySize);
    if (foreign !== undefined)
      throw refuse(`token id ${foreign} is not in the model's vocabulary of ${vocabularySize} entries`);
    return result.data;
  }

  /** Returns the running process, or a new one. */
  #process(): Promise<Session> {
    if (this.#session === null) {
      const session = Session.start(this.#options.onnx, this.#options.threads, () => {
        if (this.#session === session) this.#session = null;
      });
      this.#session = session;
    }
    return this.#session;
  }
}

type GenerateCommand = Omit<Extract<Command, { type: 'generate' }>, 'type' | 'streaming'>;

/** One process, from its start to its end. */
class Session {
  vocabularySize = 0;
  readonly #conversation: Conversation<Command, SessionEvent>;

  private constructor(onEnd: () => void) {
    this.#conversation = new Conversation(
      program,
      (message) => eventSchema.parse(message),
      (how) => new GeneratorLost(`the process that generates text ended: ${how}`),
      onEnd,
    );
  }

  static async start(onnx: string, threads: number, onEnd: () => void): Promise<Session> {
    const session = new Session(onEnd);
    await session.#conversation.request({ type: 'open', onnx, threads }, (event) => {
      if (event.type !== 'ready') return false;
      session.vocabularySize = event.vocabularySize;
      return true;
    });
    return session;
  }

  get pid(): number | null {
    return this.#conversation.process.pid ?? null;
  }

  async generate(command: GenerateCommand, { onToken, signal }: GenerateHooks): Promise<Generated[]> {
    signal?.throwIfAborted();
    let results: Generated[] | null = null;
    let thrown: unknown = null;
    const cancel = () => this.#conversation.process.send({ type: 'cancel' });
    const take = (event: SessionEvent): boolean => {
      if (event.type === 'tokens') {
        try {
          const stopped = event.tokens.filter(({ request, id }) => onToken!(request, id));
          this.#conversation.process.send({ type: 'go', stop: stopped.map(({ request }) => request) });
        } catch (error) {
          thrown = error;
          cancel();
        }
      }
      if (event.type !== 'results') return false;
      results = event.results;
      return true;
    };
    signal?.addEventListener('abort', cancel);
    try {
      await this.#conversation.request(
        { type: 'generate', streaming: onToken !== undefined, ...command },
        take,
      );
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
    if (results === null) throw thrown ?? signal!.reason;
    return results;
  }

  async logprobs(documents: readonly (readonly number[])[]): Promise<Float64Array[]> {
    let logprobs: Float64Array[] = [];
    await this.#conversation.request(
      { type: 'score', documents: documents.map((ids) => [...ids]) },
      (event) => {
        if (event.type === 'scores') logprobs = event.logprobs;
        return event.type === 'scores';
      },
    );
    return logprobs;
  }

  async kill(): Promise<void> {
    await this.#conversation.kill();
  }
}
