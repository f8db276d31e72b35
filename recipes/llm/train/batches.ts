import {
  assembleMicroBatch,
  EpochOrder,
  type MicroBatch,
  type PackReader,
} from '../../../components/datasets/llm/index.js';
import type { Schedule, StepPosition } from '../../../components/training/index.js';

export interface StepBatches {
  micro: MicroBatch[];
  /** Positions with a label, over the whole step. */
  supervised: number;
  /** Tokens of the step that are not padding. */
  tokens: number;
}

/** Returns the micro-batches of an optimizer step: the next packs of the epoch's order. */
export async function stepBatches(
  reader: PackReader,
  schedule: Schedule,
  position: StepPosition,
  seed: number,
): Promise<StepBatches> {
  const order = new EpochOrder(reader.packs, seed, position.epoch);
  const numbers = order.slice(position.cursor, position.cursor + position.packs);
  return {
    micro: await microBatches(reader, numbers, schedule.microBatch),
    supervised: reader.supervisedTokens(numbers),
    tokens: reader.tokens(numbers),
  };
}

/** Yields every pack of a validation set, in order of number. */
export async function* allBatches(reader: PackReader, micro: number): AsyncGenerator<MicroBatch> {
  for (let first = 0; first < reader.packs; first += micro) {
    const count = Math.min(micro, reader.packs - first);
    const numbers = Array.from({ length: count }, (_, index) => first + index);
    yield* await microBatches(reader, numbers, micro);
  }
}

async function microBatches(
  reader: PackReader,
  numbers: readonly number[],
  micro: number,
): Promise<MicroBatch[]> {
  const packs = await reader.read(numbers);
  const size = reader.index.packedSequenceSize;
  return Array.from({ length: Math.ceil(packs.length / micro) }, (_, index) =>
    assembleMicroBatch(packs.slice(index * micro, (index + 1) * micro), size, micro),
  );
}
