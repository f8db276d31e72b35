/**
 * Keys and values of the tokens that a batch has seen, as ONNX Runtime reads and writes them: for each layer two arrays
 * [B, G, T, K] (B rows, G key-value heads, T tokens, K head size). A row's tokens are at the right end, what is left of
 * them is padding that the attention mask hides. A run reads one set of arrays and writes the other, longer by the new
 * tokens, so that nothing is allocated or copied in JavaScript on the way from step to step.
 */
import { Tensor } from 'onnxruntime-node';

export interface CacheGeometry {
  layers: number;
  /** G */
  kvHeads: number;
  /** K */
  headSize: number;
  /** Element type of the arrays in the ONNX file. */
  type: 'float32' | 'float16';
}

type CacheArray = Float32Array | Uint16Array;
type ArraySet = CacheArray[];

/** Tokens by which arrays grow. */
const growth = 128;

export class KvCache {
  /** T: columns, of the longest row and its padding. */
  length = 0;
  /** Tokens of each row. */
  readonly tokens: number[] = [];
  #past: ArraySet = [];
  #present: ArraySet = [];
  readonly #geometry: CacheGeometry;

  constructor(geometry: CacheGeometry) {
    this.#geometry = geometry;
  }

  /** Returns the bytes that a row of `tokens` tokens takes, both sets together. */
  static rowBytes({ layers, kvHeads, headSize, type }: CacheGeometry, tokens: number): number {
    return 2 * 2 * layers * kvHeads * headSize * tokens * (type === 'float32' ? 4 : 2);
  }

  get rows(): number {
    return this.tokens.length;
  }

  /** Returns `past_key_values.*` for a run. */
  feeds(): Record<string, Tensor> {
    return this.#tensors('past_key_values', this.#past, this.length);
  }

  /** Returns `present.*` for a run over `added` tokens more of every row. */
  fetches(added: number): Record<string, Tensor> {
    this.#present = this.#withRoom(this.#present, this.rows, this.length + added);
    return this.#tensors('present', this.#present, this.length + added);
  }

  /** Ends such a run: the next one reads what it wrote. */
  advance(added: number): void {
    [this.#past, this.#present] = [this.#present, this.#past];
    this.length += added;
    for (let row = 0; row < this.rows; row++) this.tokens[row]! += added;
  }

  /** Starts over with one empty row. */
  reset(): void {
    this.length = 0;
    this.tokens.length = 0;
    this.tokens.push(0);
    this.#past = this.#withRoom(this.#past, 1, 0);
  }

  /** Adds the only row of another cache as the last one. */
  append(source: KvCache): void {
    const tokens = source.tokens[0]!;
    if (this.rows === 0) this.length = tokens;
    else if (tokens > this.length) this.#resize(tokens);
    const room = this.#withRoom(this.#past, this.rows + 1, this.length);
    if (room !== this.#past) {
      this.#past.forEach((array, i) => {
        room[i]!.set(this.#used(array));
      });
    }
    this.#past = room;
    this.tokens.push(tokens);
    this.#copyRow(source.#past, 0, source.length, this.#past, this.rows - 1, this.length, tokens);
  }

  /** Removes a row; the last one moves to its index. */
  remove(row: number): void {
    const last = this.rows - 1;
    const size = this.#rowSize(this.length);
    if (row !== last) {
      for (const array of this.#past) array.copyWithin(row * size, last * size, (last + 1) * size);
      this.tokens[row] = this.tokens[last]!;
    }
    this.tokens.pop();
    const longest = Math.max(0, ...this.tokens);
    if (this.rows > 0 && longest < 0.75 * this.length) this.#resize(longest);
  }

  /** Forgets all but the first tokens of the only row. */
  keepFirst(tokens: number): void {
    const { kvHeads, headSize } = this.#geometry;
    const padding = this.length - this.tokens[0]!;
    for (let head = 0; head < kvHeads; head++) {
      const from = (head * this.length + padding) * headSize;
      const size = tokens * headSize;
      for (const array of this.#past) array.copyWithin(head * size, from, from + size);
    }
    this.tokens[0] = tokens;
    this.length = tokens;
  }

  /** Widens or narrows the padding on the left. */
  #resize(length: number): void {
    const target = this.#withRoom(this.#present, this.rows, length);
    this.tokens.forEach((tokens, row) => {
      this.#copyRow(this.#past, row, this.length, target, row, length, tokens);
    });
    [this.#past, this.#present] = [target, this.#past];
    this.length = length;
  }

  #copyRow(
    source: ArraySet,
    sourceRow: number,
    sourceLength: number,
    target: ArraySet,
    targetRow: number,
    targetLength: number,
    tokens: number,
  ): void {
    const { kvHeads, headSize } = this.#geometry;
    const size = tokens * headSize;
    for (let head = 0; head < kvHeads; head++) {
      const sourceEnd = (sourceRow * kvHeads + head + 1) * sourceLength * headSize;
      const targetEnd = (targetRow * kvHeads + head + 1) * targetLength * headSize;
      target.forEach((array, i) => {
        array.set(source[i]!.subarray(sourceEnd - size, sourceEnd), targetEnd - size);
      });
    }
  }

  #tensors(prefix: string, set: ArraySet, length: number): Record<string, Tensor> {
    const { kvHeads, headSize, type } = this.#geometry;
    const dims = [this.rows, kvHeads, length, headSize];
    const size = this.rows * this.#rowSize(length);
    const tensors: Record<string, Tensor> = {};
    set.forEach((array, i) => {
      const name = `${prefix}.${i >> 1}.${i % 2 === 0 ? 'key' : 'value'}`;
      tensors[name] = createTensor(type, array.subarray(0, size), dims);
    });
    return tensors;
  }

  /** Returns the set itself where its arrays are large enough, else a new one with room for some steps. */
  #withRoom(set: ArraySet, rows: number, length: number): ArraySet {
    const { layers, type } = this.#geometry;
    if (set.length > 0 && set[0]!.length >= rows * this.#rowSize(length)) return set;
    const size = rows * this.#rowSize(Math.ceil((length + growth / 2) / growth) * growth);
    const allocate = () => (type === 'float32' ? new Float32Array(size) : new Uint16Array(size));
    return Array.from({ length: 2 * layers }, allocate);
  }

  #used(array: CacheArray): CacheArray {
    return array.subarray(0, this.rows * this.#rowSize(this.length));
  }

  #rowSize(length: number): number {
    return this.#geometry.kvHeads * this.#geometry.headSize * length;
  }
}

/** Returns a tensor over memory of ours, which ONNX Runtime reads and writes in place. */
function createTensor(type: CacheGeometry['type'], data: CacheArray, dims: readonly number[]): Tensor {
  return new Tensor(type, data as Float32Array, dims);
}
