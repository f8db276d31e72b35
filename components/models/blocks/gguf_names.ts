/** Names that llama.cpp gives to the tensors of a decoder in GGUF files. */
import type { AttentionGeometry, GgufTensorRule } from './family.js';

/** Tensors outside the layers; null: already in the config (scaling of the rotary frequencies). */
const outside: Readonly<Record<string, string | null>> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
  'rope_freqs.weight': null,
};

/** Modules of a layer, relative to `model.layers.<n>`. */
const modules: Readonly<Record<string, string>> = {
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
 * Returns what becomes of a GGUF tensor; null when the model has none of that name.
 *
 * @param names the model's tensors
 * @param interleaved heads of the layers where llama.cpp stores q and k for rotary embedding of neighboring rows (2j,
 * 2j + 1), though transformers pairs j with j + K/2: their rows must be put back, head by head. Null when it does not.
 */
export function ggufTensorRule(
  gguf: string,
  names: ReadonlySet<string>,
  interleaved: AttentionGeometry | null,
): GgufTensorRule | null {
  const outsideName = outside[gguf];
  if (outsideName === null) return { name: null, permutedHeads: null };
  if (outsideName !== undefined)
    return names.has(outsideName) ? { name: outsideName, permutedHeads: null } : null;
  const match = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(gguf);
  const module = match && modules[match[2]!];
  if (!match || !module) return null;
  const name = `model.layers.${match[1]}.${module}.${match[3]}`;
  if (!names.has(name)) return null;
  const rotated = { attn_q: interleaved?.heads, attn_k: interleaved?.kvHeads }[match[2]!];
  return { name, permutedHeads: rotated ?? null };
}
