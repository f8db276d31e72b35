/** The interface of a model family, which is one file in families/; nothing else refers to it. */
import type { DType, Graph, LinearModule } from '../../../graph/index.js';
import type { GgufFile } from '../gguf/parse.js';

export interface ExpectedTensor {
  name: string;
  shape: number[];
}

export interface GgufTensorRule {
  /** Hugging Face name; null drops the tensor. */
  name: string | null;
  /** Number of heads whose rows llama.cpp interleaved for its rotary embedding; null when rows are as they were. */
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

/** Heads of queries, heads of keys and values, and the size of each: what a key-value cache of a layer holds. */
export interface AttentionGeometry {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** A model whose config has been read: everything that follows from the config and the forward pass. */
export interface Model {
  readonly architecture: string;
  /** `model_type` of config.json. */
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** One entry an attention layer, in order. */
  readonly attention: readonly AttentionGeometry[];
  readonly maxPositions: number;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | null;
  /** True when the embedding also serves as head. */
  readonly tiedEmbeddings: boolean;
  /** Every tensor that the weights must hold, in the order in which the forward pass reads them. */
  readonly tensors: readonly ExpectedTensor[];
  /** The linear layers that an adapter may go to. The head is not one of them, as in peft's `all-linear`. */
  readonly linearModules: readonly LinearModule[];
  /** Returns whether files may hold a tensor of this name in addition to `tensors`. */
  isIgnored(name: string): boolean;
  /**
   * Returns the forward pass over packed documents: inputs `ids` [T], `positions` [T], `spans` [T, 2]; outputs `hidden`
   * [T, D] and `head` [V, D].
   */
  forward(options: ForwardOptions): Graph;
  /** Returns the values of the graph's constants, by the name its writer declared. */
  constants(positions: number): Map<string, { shape: number[]; data: Float32Array }>;
  /** Returns what becomes of a tensor of a GGUF file; null when the family has no such tensor. */
  ggufTensor(name: string): GgufTensorRule | null;
}

export interface ModelFamily {
  /** `architectures[0]` of config.json. */
  readonly architecture: string;
  /** `general.architecture` of GGUF files of this family. */
  readonly ggufArchitectures: readonly string[];
  /** Reads a parsed config.json. @throws ModelError that names `location` and every wrong key */
  model(config: Record<string, unknown>, location: string): Model;
  /** Returns the config.json that a GGUF file's metadata amounts to, without its `dtype`. */
  configFromGguf(gguf: GgufFile): Record<string, unknown> | Promise<Record<string, unknown>>;
}
