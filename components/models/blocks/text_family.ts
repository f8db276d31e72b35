/** A family of decoders from its config and its forward function; everything else follows from the graph. */
import { type Graph, getValue, linearModules } from '../../../graph/index.js';
import type { AttentionGeometry, ForwardOptions, Model, ModelFamily } from './family.js';
import { textConfigFromGguf } from './gguf_config.js';
import { ggufTensorRule } from './gguf_names.js';
import { ModelWriter } from './model_writer.js';
import { heads, readTextConfig, type TextConfig, type TextConfigSchema } from './text_config.js';

export interface TextFamily<Schema extends TextConfigSchema> {
  /** `architectures[0]` of config.json. */
  architecture: string;
  /** `model_type` of config.json. */
  modelType: string;
  gguf: {
    /** `general.architecture` of GGUF files. */
    architecture: string;
    /** True when llama.cpp interleaves the rows of q and k for its rotary embedding. */
    interleavedRope: boolean;
  };
  /** `textConfig`, extended by the keys of config.json that decide this family's numbers. */
  config: Schema;
  /** Writes the forward pass; ends with `m.head`. */
  forward(m: ModelWriter, config: TextConfig<Schema>): void;
}

/**
 * Makes a family of decoders.
 *
 * @example
 * export const mine = textFamily({ architecture: 'MyForCausalLM', modelType: 'mine', …, forward(m, c) { … } });
 * registerModelFamily(mine);
 */
export function textFamily<Schema extends TextConfigSchema>(family: TextFamily<Schema>): ModelFamily {
  const { architecture, modelType, gguf } = family;
  return {
    architecture,
    ggufArchitectures: [gguf.architecture],
    model: (json, location) =>
      textModel(family, readTextConfig(family.config, json, { location, architecture })),
    configFromGguf: (file) =>
      textConfigFromGguf(file, { architecture, modelType, ggufArchitecture: gguf.architecture }),
  };
}

function textModel<Schema extends TextConfigSchema>(
  family: TextFamily<Schema>,
  config: TextConfig<Schema>,
): Model {
  const write = (options: Omit<ForwardOptions, 'dtypes'> & { dtypes: ForwardOptions['dtypes'] | null }) => {
    const writer = new ModelWriter({
      name: family.modelType,
      axes: axisSizes(config, options),
      dtypes: options.dtypes,
    });
    family.forward(writer, config);
    return writer;
  };
  const layout = write({ tokens: 1, positions: 1, dtypes: null }).build();
  const tensors = layout.values
    .filter((value) => value.kind === 'param')
    .map(({ name, shape }) => ({ name, shape: [...shape] }));
  const names = new Set(tensors.map(({ name }) => name));
  const interleaved = family.gguf.interleavedRope ? heads(config) : null;
  return {
    architecture: family.architecture,
    modelType: family.modelType,
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    attention: attentionLayers(layout),
    maxPositions: config.max_position_embeddings,
    bosTokenId: config.bos_token_id ?? null,
    eosTokenIds: [config.eos_token_id ?? []].flat(),
    padTokenId: config.pad_token_id ?? null,
    tiedEmbeddings: config.tie_word_embeddings,
    tensors,
    linearModules: linearModules(layout),
    isIgnored: (name) =>
      // A copy of the tied head, and the inverse frequencies that old checkpoints saved.
      (config.tie_word_embeddings && name === 'lm_head.weight') || name.endsWith('rotary_emb.inv_freq'),
    forward: (options) => write(options).build(),
    constants: (positions) =>
      new Map(
        [...write({ tokens: 1, positions, dtypes: null }).constants].map(([name, { shape, data }]) => [
          name,
          { shape, data: data() },
        ]),
      ),
    ggufTensor: (name) => ggufTensorRule(name, names, interleaved),
  };
}

function axisSizes(config: TextConfig, { tokens, positions }: { tokens: number; positions: number }) {
  return {
    T: tokens,
    P: positions,
    D: config.hidden_size,
    H: config.num_attention_heads,
    G: config.num_key_value_heads,
    K: config.head_dim,
    F: config.intermediate_size,
    V: config.vocab_size,
  };
}

/** Returns the heads of each attention of a graph, in order. */
function attentionLayers(graph: Graph): AttentionGeometry[] {
  return graph.nodes
    .filter(({ op }) => op === 'attention')
    .map(({ inputs, attrs }) => {
      const headDim = Number(attrs.head_dim);
      const [q, k] = inputs.map((id) => getValue(graph, id));
      return { heads: q!.shape[1]! / headDim, kvHeads: k!.shape[1]! / headDim, headDim };
    });
}
