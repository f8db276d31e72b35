/** What a model family gives, so that nothing else needs to know it. One folder per family, each with the same files. */
import type { DType, Graph } from '../../graph/index.js';
import type { GgufFile } from './gguf/parse.js';

export interface ExpectedTensor {
  name: string;
  shape: number[];
}

export interface GgufTensorRule {
  /** Hugging Face name; null drops the tensor. */
  name: string | null;
  /** Number of heads whose rows llama.cpp interleaved for its rotary embedding; null where rows are as they were. */
  permutedHeads: number | null;
}

export interface ForwardOptions {
  /** T: tokens of one packed buffer, `micro × packed_sequence_size`. */
  tokens: number;
  /** P: rows of the RoPE table; at least the longest document. */
  positions: number;
  /** The dtype of each tensor's file, by Hugging Face name. */
  dtypes: ReadonlyMap<string, DType>;
}

/** A model whose config has been read: everything that follows from the config alone. */
export interface Model {
  readonly architecture: string;
  /** `model_type` of config.json. */
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  /** Heads of queries, heads of keys and values, and the size of each. */
  readonly attention: { readonly heads: number; readonly kvHeads: number; readonly headDim: number };
  readonly maxPositions: number;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | null;
  /** Whether the embedding serves as head. */
  readonly tiedEmbeddings: boolean;
  /** Every tensor that the weights must hold. */
  readonly tensors: readonly ExpectedTensor[];
  /** The linear layers of the decoder: what an adapter may go to. The head is none of them, as in peft's `all-linear`. */
  readonly linearModules: readonly { module: string; in: number; out: number }[];
  /** Tensors that files may hold beside `tensors`. */
  isIgnored(name: string): boolean;
  /**
   * The forward pass over packed documents: inputs `ids` [T], `positions` [T], `segments` [S]; constant `rope` [P, K];
   * outputs `hidden` [T, D] and `head` [V, D].
   */
  forward(options: ForwardOptions): Graph;
  /** The graph's constants, by the name its builder declared. */
  constants(positions: number): Map<string, { shape: number[]; data: Float32Array }>;
  ggufTensor(name: string): GgufTensorRule | null;
}

export interface ModelFamily {
  /** `architectures[0]` of config.json. */
  readonly architecture: string;
  /** `general.architecture` of GGUF files of this family. */
  readonly ggufArchitectures: readonly string[];
  /** Reads a parsed config.json; throws ModelError that names `place` and every wrong key. */
  model(config: Record<string, unknown>, place: string): Model;
  /** The config.json that a GGUF file's metadata amounts to, without its `dtype`. */
  configFromGguf(gguf: GgufFile): Record<string, unknown> | Promise<Record<string, unknown>>;
}
