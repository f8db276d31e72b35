/** A causal decoder in ONNX Runtime, with the inputs and outputs of onnxruntime-genai and transformers.js. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { ModelError } from '../../shared/errors.js';
import type { CacheGeometry, KvCache } from './kv_cache.js';

/** Bytes of logits that a run over a prompt may give; longer prompts run in pieces. */
const logitsBytes = 64 << 20;

export class OnnxDecoder {
  #logits = new Float32Array(0);

  readonly #session: InferenceSession;

  private constructor(
    session: InferenceSession,
    readonly cacheGeometry: CacheGeometry,
    /** V */
    readonly vocabularySize: number,
  ) {
    this.#session = session;
  }

  /**
   * Opens a .onnx file with its external data.
   * @throws ModelError when it is not such a decoder
   */
  static async open(file: string, threads: number): Promise<OnnxDecoder> {
    const session = await InferenceSession.create(file, {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'all',
      executionMode: 'sequential',
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      // Lengths change with every step: a plan of allocations for each of them would only pile up.
      enableMemPattern: false,
      // Idle threads wait 20 µs before they sleep, where the default waits a millisecond. A step has hundreds of short
      // products: on two cores alone that is no slower than the default, and beside other work, which the waiting
      // would take the cores from, clearly faster.
      extra: { session: { intra_op: { spin_duration_us: '20' } } },
      logSeverityLevel: 3,
    }).catch((cause: Error) => {
      throw new ModelError(`${file}: ONNX Runtime cannot load it: ${cause.message}`, { cause });
    });
    return new OnnxDecoder(session, cacheGeometry(session, file), vocabularySize(session, file));
  }

  /** Tokens of a prompt that may run at once. */
  get chunkSize(): number {
    return Math.max(1, Math.floor(logitsBytes / (4 * this.vocabularySize)));
  }

  /**
   * Runs S further tokens of every row of the cache, and takes them into the cache.
   *
   * @param ids B rows of S ids
   * @returns logits [B, S, V]; the next call reuses them
   */
  async forward(cache: KvCache, ids: readonly (readonly number[])[]): Promise<Float32Array> {
    const rows = ids.length;
    const addedTokens = ids[0]!.length;
    const total = cache.length + addedTokens;
    const inputs = new BigInt64Array(rows * addedTokens);
    const positions = new BigInt64Array(rows * addedTokens);
    const mask = new BigInt64Array(rows * total);
    ids.forEach((row, r) => {
      const before = cache.tokens[r]!;
      row.forEach((id, s) => {
        inputs[r * addedTokens + s] = BigInt(id);
        positions[r * addedTokens + s] = BigInt(before + s);
      });
      mask.fill(1n, (r + 1) * total - before - addedTokens, (r + 1) * total);
    });
    const size = rows * addedTokens * this.vocabularySize;
    if (this.#logits.length < size) this.#logits = new Float32Array(size);
    const logits = this.#logits.subarray(0, size);
    const feeds = {
      input_ids: new Tensor('int64', inputs, [rows, addedTokens]),
      attention_mask: new Tensor('int64', mask, [rows, total]),
      position_ids: new Tensor('int64', positions, [rows, addedTokens]),
      ...cache.feeds(),
    };
    const fetches = {
      logits: new Tensor('float32', logits, [rows, addedTokens, this.vocabularySize]),
      ...cache.fetches(addedTokens),
    };
    await this.#session.run(feeds, fetches);
    cache.advance(addedTokens);
    return logits;
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

function cacheGeometry({ inputNames, inputMetadata }: InferenceSession, file: string): CacheGeometry {
  const layers = inputNames.filter((name) => /^past_key_values\.\d+\.key$/.test(name)).length;
  const missing = ['input_ids', 'attention_mask', 'position_ids', 'past_key_values.0.key'].filter(
    (name) => !inputNames.includes(name),
  );
  if (missing.length > 0)
    throw new ModelError(
      `${file}: not a decoder with a key-value cache, it has no input ${missing.join(', ')}; export it with 'temper export --onnx'`,
    );
  const first = inputMetadata[inputNames.indexOf('past_key_values.0.key')]!;
  if (!first.isTensor) throw new ModelError(`${file}: past_key_values.0.key is not a tensor`);
  const [, kvHeads, , headSize] = first.shape;
  const { type } = first;
  if (typeof kvHeads !== 'number' || typeof headSize !== 'number')
    throw new ModelError(
      `${file}: past_key_values.0.key has the shape [${first.shape.join(', ')}]; its number of heads and their size must be fixed`,
    );
  if (type !== 'float32' && type !== 'float16')
    throw new ModelError(
      `${file}: a key-value cache of type ${type}; only float32 and float16 are supported`,
    );
  return { layers, kvHeads, headSize, type };
}

function vocabularySize({ outputNames, outputMetadata }: InferenceSession, file: string): number {
  const logits = outputMetadata[outputNames.indexOf('logits')];
  const size = logits?.isTensor ? logits.shape[2] : undefined;
  if (!logits?.isTensor || typeof size !== 'number')
    throw new ModelError(`${file}: no output 'logits' of the shape [batch, sequence, vocabulary]`);
  if (logits.type !== 'float32')
    throw new ModelError(`${file}: logits of type ${logits.type}; only float32 is supported`);
  return size;
}
