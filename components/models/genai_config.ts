/** genai_config.json: how onnxruntime-genai finds its way in an exported decoder (its `src/config.h`). */
import { ModelError } from '../../shared/errors.js';
import type { Model } from './blocks/family.js';

export interface GenaiOptions {
  /** The ONNX file, relative to the folder. */
  file: string;
  contextLength: number;
  /** generation_config.json as parsed, whose tokens and sampling come first; {} where the folder has none. */
  generation: Readonly<Record<string, unknown>>;
}

export function genaiConfig(
  model: Model,
  { file, contextLength, generation }: GenaiOptions,
): Record<string, unknown> {
  const { heads, kvHeads, headDim } = uniformAttention(model);
  const eos = [generation.eos_token_id ?? model.eosTokenIds].flat() as number[];
  const pad = model.padTokenId ?? eos[0] ?? 0;
  return {
    model: {
      type: model.modelType,
      bos_token_id: model.bosTokenId ?? eos[0] ?? 0,
      eos_token_id: eos.length === 1 ? eos[0] : eos,
      pad_token_id: Math.max(0, pad),
      context_length: contextLength,
      vocab_size: model.vocabSize,
      decoder: {
        session_options: { log_id: 'onnxruntime-genai', provider_options: [] },
        filename: file,
        head_size: headDim,
        hidden_size: model.hiddenSize,
        num_attention_heads: heads,
        num_hidden_layers: model.attention.length,
        num_key_value_heads: kvHeads,
        inputs: {
          input_ids: 'input_ids',
          attention_mask: 'attention_mask',
          position_ids: 'position_ids',
          past_key_names: 'past_key_values.%d.key',
          past_value_names: 'past_key_values.%d.value',
        },
        outputs: {
          logits: 'logits',
          present_key_names: 'present.%d.key',
          present_value_names: 'present.%d.value',
        },
      },
    },
    search: {
      do_sample: generation.do_sample ?? false,
      max_length: contextLength,
      min_length: 0,
      num_beams: 1,
      num_return_sequences: 1,
      // Sharing one buffer is what GroupQueryAttention does; Attention writes the present apart from the past.
      past_present_share_buffer: false,
      repetition_penalty: generation.repetition_penalty ?? 1,
      temperature: generation.temperature ?? 1,
      top_k: generation.top_k ?? 1,
      top_p: generation.top_p ?? 1,
    },
  };
}

/** Returns the attention's geometry: genai_config.json has one for the caches of all layers. */
function uniformAttention({ architecture, attention }: Model) {
  const first = attention[0];
  const uniform = attention.every(
    (layer) => layer.kvHeads === first!.kvHeads && layer.headDim === first!.headDim,
  );
  if (first === undefined || !uniform)
    throw new ModelError(
      `${architecture}: onnxruntime-genai needs the same key-value heads in every layer, and this model's differ`,
    );
  return first;
}
