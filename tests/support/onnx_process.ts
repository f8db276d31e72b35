/**
 * Runs decoders in ONNX Runtime for tests, in a process of its own because its addon does not load in jest's realm. Jobs
 * come as messages; each is answered with log p(token i+1 | ≤ i) of its documents.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { OnnxAnswer, OnnxJob } from './onnx.js';

interface Run {
  logits: Float32Array;
  present: Record<string, Tensor>;
}

class Decoder {
  readonly #session: InferenceSession;
  readonly #extra: Record<string, Tensor>;

  private constructor(session: InferenceSession, extra: Record<string, Tensor>) {
    this.#session = session;
    this.#extra = extra;
  }

  static async open({ model, extra = {} }: OnnxJob): Promise<Decoder> {
    const session = await InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 3 });
    const tensors = Object.entries(extra).map(([name, { shape, data }]) => {
      return [name, new Tensor('float32', Float32Array.from(data), shape)] as const;
    });
    return new Decoder(session, Object.fromEntries(tensors));
  }

  /** Scores a document in one run. */
  async whole(ids: readonly number[]): Promise<number[]> {
    const { logits } = await this.#run([ids], [ids.map((_, i) => i)], [ids.map(() => 1)], null);
    return logprobs(logits, 0, ids);
  }

  /** Scores half a document, then token by token, and its last three tokens at once. */
  async cached(ids: readonly number[]): Promise<number[]> {
    const half = Math.ceil(ids.length / 2);
    const singles = Math.max(half, ids.length - 3);
    const cuts = [0, half, ...Array.from({ length: singles - half }, (_, i) => half + i + 1), ids.length];
    const rows: Float32Array[] = [];
    let past: Record<string, Tensor> | null = null;
    for (let i = 0; i + 1 < cuts.length; i++) {
      const [from, to] = [cuts[i]!, cuts[i + 1]!];
      if (from === to) continue;
      const positions = Array.from({ length: to - from }, (_, j) => from + j);
      const mask = ids.slice(0, to).map(() => 1);
      const result: Run = await this.#run([ids.slice(from, to)], [positions], [mask], past);
      rows.push(result.logits);
      past = result.present;
    }
    const width = rows[0]!.length / half;
    const logits = new Float32Array(ids.length * width);
    let offset = 0;
    for (const row of rows) {
      logits.set(row, offset);
      offset += row.length;
    }
    return logprobs(logits, 0, ids);
  }

  /** Scores all documents in one batch, padded on the left. */
  async padded(documents: readonly (readonly number[])[]): Promise<number[][]> {
    const width = Math.max(...documents.map((ids) => ids.length));
    const pad = (ids: readonly number[], values: number[]) => [
      ...new Array<number>(width - ids.length).fill(0),
      ...values,
    ];
    const { logits } = await this.#run(
      documents.map((ids) => pad(ids, [...ids])),
      documents.map((ids) => pad(ids, [...ids.keys()])),
      documents.map((ids) =>
        pad(
          ids,
          ids.map(() => 1),
        ),
      ),
      null,
    );
    const rowSize = logits.length / documents.length;
    const vocabulary = rowSize / width;
    return documents.map((ids, row) =>
      logprobs(logits, row * rowSize + (width - ids.length) * vocabulary, ids, vocabulary),
    );
  }

  async #run(
    ids: readonly (readonly number[])[],
    positions: readonly (readonly number[])[],
    mask: readonly (readonly number[])[],
    past: Record<string, Tensor> | null,
  ): Promise<Run> {
    const feeds: Record<string, Tensor> = {
      input_ids: integers(ids),
      attention_mask: integers(mask),
      position_ids: integers(positions),
      ...this.#extra,
      ...(past ?? this.#empty(ids.length)),
    };
    const outputs = await this.#session.run(feeds);
    const present = Object.entries(outputs)
      .filter(([name]) => name.startsWith('present.'))
      .map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor] as const);
    return { logits: outputs.logits!.data as Float32Array, present: Object.fromEntries(present) };
  }

  #empty(batch: number): Record<string, Tensor> {
    const slots = this.#session.inputMetadata.flatMap((slot) =>
      slot.isTensor && slot.name.startsWith('past_key_values.') ? [slot] : [],
    );
    return Object.fromEntries(
      slots.map(({ name, type, shape }) => {
        const dims = [batch, shape[1] as number, 0, shape[3] as number];
        const data = type === 'float16' ? new Uint16Array(0) : new Float32Array(0);
        return [name, new Tensor(type as 'float32', data as Float32Array, dims)];
      }),
    );
  }
}

function integers(rows: readonly (readonly number[])[]): Tensor {
  return new Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);
}

/** Returns log p of each next token, from logits [tokens, V] that begin at `offset`. */
function logprobs(
  logits: Float32Array,
  offset: number,
  ids: readonly number[],
  vocabulary = logits.length / ids.length,
): number[] {
  return ids.slice(1).map((id, i) => {
    const row = logits.subarray(offset + i * vocabulary, offset + (i + 1) * vocabulary);
    const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const sum = row.reduce((total, z) => total + Math.exp(z - top), 0);
    return row[id]! - top - Math.log(sum);
  });
}

async function score(job: OnnxJob): Promise<number[][]> {
  const decoder = await Decoder.open(job);
  if (job.how === 'padded') return decoder.padded(job.documents);
  const rows: number[][] = [];
  for (const ids of job.documents) rows.push(await decoder[job.how](ids));
  return rows;
}

process.on('message', (job: OnnxJob) => {
  score(job).then(
    (logprobs) => process.send!({ logprobs } satisfies OnnxAnswer),
    (error: Error) => process.send!({ error: error.message } satisfies OnnxAnswer),
  );
});
process.on('disconnect', () => process.exit(0));
