import { cutToSize, type Document } from '../../../components/datasets/llm/documents/document.js';
import { uniform } from '../../../components/datasets/llm/documents/random.js';
import { assembleMicroBatch } from '../../../components/datasets/llm/index.js';
import { interleave } from '../../../components/datasets/llm/packs/mixture.js';
import { decodePack, encodePack } from '../../../components/datasets/llm/packs/pack_file.js';
import { type Pack, Packer } from '../../../components/datasets/llm/packs/packing.js';

const document = (ids: number[], labels = ids): Document => ({
  ids: Int32Array.from(ids),
  labels: Int32Array.from(labels),
});
const repeatToken = (length: number, id: number): Document => document(new Array<number>(length).fill(id));

function packAll(documents: Document[], size: number, window?: number): Pack[] {
  const packer = new Packer(size, window);
  const packs = documents.map((each) => packer.add(each)).filter((pack) => pack !== null);
  return [...packs, ...packer.finish()];
}

describe('packing', () => {
  test('puts a document into the first pack that has room', () => {
    const packs = packAll([repeatToken(6, 1), repeatToken(5, 2), repeatToken(3, 3), repeatToken(4, 4)], 10);
    expect(packs.map((pack) => [...pack.ids])).toEqual([
      [1, 1, 1, 1, 1, 1, 3, 3, 3, 0],
      [2, 2, 2, 2, 2, 4, 4, 4, 4, 0],
    ]);
    expect(packs.map((pack) => pack.starts)).toEqual([
      [0, 6],
      [0, 5],
    ]);
  });

  test('closes the oldest pack when the window is full', () => {
    const packs = packAll(
      [repeatToken(9, 1), repeatToken(9, 2), repeatToken(9, 3), repeatToken(1, 4)],
      10,
      2,
    );
    expect(packs.map((pack) => pack.ids[9])).toEqual([0, 4, 0]);
  });

  test('keeps every document whole, and takes each once', () => {
    const lengths = Array.from({ length: 500 }, (_, index) => 1 + Math.floor(uniform(7, index) * 64));
    const packs = packAll(
      lengths.map((length, index) => repeatToken(length, index + 1)),
      64,
      8,
    );
    const pieces = packs.flatMap(({ ids, starts, tokens }) =>
      starts.map((start, index) => {
        const piece = ids.subarray(start, starts[index + 1] ?? tokens);
        expect(new Set(piece).size).toBe(1);
        return [piece[0]! - 1, piece.length];
      }),
    );
    expect(pieces.sort((a, b) => a[0]! - b[0]!)).toEqual(lengths.map((length, index) => [index, length]));
  });

  test('counts a label as supervised if an earlier token of its document predicts it', () => {
    const [pack] = packAll([document([1, 2, 3], [1, -100, 3]), document([4, 5])], 8);
    expect(pack!.supervised).toBe(2);
  });
});

test('a document longer than a pack is truncated, or split', () => {
  const longDocument = document([1, 2, 3, 4, 5]);
  expect(cutToSize(longDocument, 2, 'truncate').pieces.map(({ ids }) => [...ids])).toEqual([[1, 2]]);
  expect(cutToSize(longDocument, 2, 'split').pieces.map(({ ids }) => [...ids])).toEqual([
    [1, 2],
    [3, 4],
    [5],
  ]);
});

describe('a pack record', () => {
  test('decodes to its pack, with starts at every bit', () => {
    const documents = Array.from({ length: 70 }, (_, index) => repeatToken(1, index + 1));
    const [pack] = packAll(documents, 70);
    expect(decodePack(encodePack(pack!, 70), 70, 'here')).toEqual(pack);
  });

  test('is named if it was overwritten', () => {
    const record = encodePack(packAll([repeatToken(4, 1)], 8)[0]!, 8);
    record[1] = 3;
    expect(() => decodePack(record, 8, 'pack 5 in x')).toThrow('pack 5 in x is damaged');
  });
});

describe('a micro-batch', () => {
  const [pack] = packAll([document([11, 12, 13], [-100, 12, 13]), document([21, 22])], 8);
  const batch = assembleMicroBatch([{ ...pack!, number: 7 }], 8, 2);

  test('aligns labels with the token that predicts them, within documents', () => {
    expect([...batch.labels.subarray(0, 8)]).toEqual([12, 13, -100, 22, -100, -100, -100, -100]);
  });

  test('restarts positions at each document', () => {
    expect([...batch.positions.subarray(0, 8)]).toEqual([0, 1, 2, 0, 1, 0, 1, 2]);
  });

  test('lets each token see its document up to itself', () => {
    const firstKeys = [0, 0, 0, 3, 3, 5, 5, 5, ...new Array<number>(8).fill(8)];
    expect([...batch.spans]).toEqual(firstKeys.flatMap((key, token) => [key, token]));
  });

  test('gives the pack and offset of each token', () => {
    expect([...batch.packs]).toEqual([...new Array<number>(8).fill(7), ...new Array<number>(8).fill(0)]);
    expect([...batch.offsets]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test('has as many labels as the pack index counts', () => {
    expect(batch.labels.filter((value) => value !== -100)).toHaveLength(batch.supervised);
  });

  test('is only padding without labels if it has no packs', () => {
    const emptyBatch = assembleMicroBatch([], 4, 2);
    expect([...emptyBatch.labels]).toEqual(new Array<number>(8).fill(-100));
    expect([...emptyBatch.spans]).toEqual([0, 0, 0, 1, 0, 2, 0, 3, 4, 4, 4, 5, 4, 6, 4, 7]);
  });
});

describe('a mixture', () => {
  const order = (weights: number[], documents: number[], stop: 'first_exhausted' | 'all_exhausted') =>
    [
      ...interleave(
        weights.map((weight, index) => ({ weight, documents: documents[index]! })),
        stop,
      ),
    ].join('');

  test('follows the weights in every prefix', () => {
    const sources = order([3, 1], [300, 300], 'first_exhausted');
    for (let length = 4; length < sources.length; length += 4) {
      expect(sources.slice(0, length).split('1').length - 1).toBe(length / 4);
    }
  });

  test('ends with the first source that ends', () => {
    expect(order([1, 1], [2, 5], 'first_exhausted')).toBe('0101');
  });

  test('repeats sources until all were used up, with all_exhausted', () => {
    expect(order([1, 1], [2, 4], 'all_exhausted')).toBe('01010101');
  });
});
