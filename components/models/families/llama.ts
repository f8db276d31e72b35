/** Llama (Touvron et al. 2023), which SmolLM2, TinyLlama and many others share. */
import { z } from 'zod';
import { textConfig, textFamily } from '../blocks/index.js';

export const llama = textFamily({
  architecture: 'LlamaForCausalLM',
  modelType: 'llama',
  gguf: { architecture: 'llama', interleavedRope: true },
  config: textConfig.extend({
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
  }),
  forward(m, c) {
    const norm = (module: string, x: Parameters<typeof m.rmsnorm>[1]) => m.rmsnorm(module, x, c.rms_norm_eps);
    const rope = m.rope(c.rope);
    let x = m.embed();
    m.layers(c.num_hidden_layers, () => {
      const attentionIn = norm('input_layernorm', x);
      const mixed = m.attention('self_attn', attentionIn, { rope, bias: c.attention_bias });
      x = m.add('attn_out', x, mixed);
      const mlpIn = norm('post_attention_layernorm', x);
      x = m.add('mlp_out', x, m.glu('mlp', mlpIn, { fn: c.hidden_act, bias: c.mlp_bias }));
    });
    m.head(norm('norm', x), { tied: c.tie_word_embeddings });
  },
});
