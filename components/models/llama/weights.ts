/** The tensors of a Llama-family decoder under their Hugging Face names, and what llama.cpp calls them in GGUF files. */
import type { ExpectedTensor, GgufTensorRule } from '../family.js';
import type { LlamaConfig } from './config.js';

interface Linear {
  /** Module path, e.g. `model.layers.0.self_attn.q_proj`. */
  module: string;
  /** Axis labels and sizes of the outputs and inputs. */
  out: { axis: string; size: number };
  in: { axis: string; size: number };
  bias: boolean;
}

/** The linear modules of a decoder layer, in the order they are applied. */
export function layerLinears(config: LlamaConfig, layer: number): Linear[] {
  const { attentionBias, mlpBias } = config;
  const d = { axis: 'D', size: config.hiddenSize };
  const f = { axis: 'F', size: config.intermediateSize };
  const q = { axis: 'HK', size: config.heads * config.headDim };
  const kv = { axis: 'GK', size: config.kvHeads * config.headDim };
  const at = (name: string) => `model.layers.${layer}.${name}`;
  return [
    { module: at('self_attn.q_proj'), out: q, in: d, bias: attentionBias },
    { module: at('self_attn.k_proj'), out: kv, in: d, bias: attentionBias },
    { module: at('self_attn.v_proj'), out: kv, in: d, bias: attentionBias },
    { module: at('self_attn.o_proj'), out: d, in: q, bias: attentionBias },
    { module: at('mlp.gate_proj'), out: f, in: d, bias: mlpBias },
    { module: at('mlp.up_proj'), out: f, in: d, bias: mlpBias },
    { module: at('mlp.down_proj'), out: d, in: f, bias: mlpBias },
  ];
}

/** Every tensor of the model. `lm_head.weight` is absent where the embedding serves as head. */
export function llamaTensors(config: LlamaConfig): ExpectedTensor[] {
  const { hiddenSize: d, vocabSize: v } = config;
  const tensors: ExpectedTensor[] = [{ name: 'model.embed_tokens.weight', shape: [v, d] }];
  for (let layer = 0; layer < config.layers; layer++) {
    tensors.push({ name: `model.layers.${layer}.input_layernorm.weight`, shape: [d] });
    for (const linear of layerLinears(config, layer)) {
      tensors.push({ name: `${linear.module}.weight`, shape: [linear.out.size, linear.in.size] });
      if (linear.bias) tensors.push({ name: `${linear.module}.bias`, shape: [linear.out.size] });
    }
    tensors.push({ name: `model.layers.${layer}.post_attention_layernorm.weight`, shape: [d] });
  }
  tensors.push({ name: 'model.norm.weight', shape: [d] });
  if (!config.tiedEmbeddings) tensors.push({ name: 'lm_head.weight', shape: [v, d] });
  return tensors;
}

/**
 * Tensors that files may hold beside these: a copy of the tied head, and the inverse frequencies that old checkpoints saved.
 */
export function isIgnoredLlamaTensor(config: LlamaConfig, name: string): boolean {
  return (config.tiedEmbeddings && name === 'lm_head.weight') || name.endsWith('rotary_emb.inv_freq');
}

const ggufModules: Record<string, string> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/**
 * What becomes of a GGUF tensor. llama.cpp stores q and k for rotary embedding of neighbouring rows (2j, 2j + 1), where
 * transformers pairs j with j + K/2; `permutedHeads` says that rows must be put back, head by head. Null: not of this family.
 */
export function llamaGgufTensor(config: LlamaConfig, gguf: string): GgufTensorRule | null {
  if (gguf === 'token_embd.weight') return { name: 'model.embed_tokens.weight', permutedHeads: null };
  if (gguf === 'output_norm.weight') return { name: 'model.norm.weight', permutedHeads: null };
  if (gguf === 'output.weight') return { name: 'lm_head.weight', permutedHeads: null };
  // Scaling of the rotary frequencies; it is in the config already.
  if (gguf === 'rope_freqs.weight') return { name: null, permutedHeads: null };
  const match = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(gguf);
  const module = match && ggufModules[match[2]!];
  if (!match || !module || Number(match[1]) >= config.layers) return null;
  const permutedHeads = match[2] === 'attn_q' ? config.heads : match[2] === 'attn_k' ? config.kvHeads : null;
  return { name: `model.layers.${match[1]}.${module}.${match[3]}`, permutedHeads };
}
