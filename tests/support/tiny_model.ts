/** A small Llama with random weights, the same ones each time, in the Hugging Face layout. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fromFloat32 } from '../../shared/safetensors/floats.js';
import { writeSafetensors } from '../../shared/safetensors/safetensors.js';
import { Random } from './random.js';

export interface TinyModelOptions {
  vocabulary?: number;
  hidden?: number;
  intermediate?: number;
  layers?: number;
  heads?: number;
  seed?: number;
  /** Type of the weights in the file. Default F32. */
  dtype?: 'F32' | 'F16' | 'BF16';
}

/** Writes `config.json` and `model.safetensors` (tied embeddings) into the folder. */
export async function writeTinyModel(folder: string, options: TinyModelOptions = {}): Promise<void> {
  const { vocabulary = 256, hidden = 64, intermediate = 128, layers = 2, heads = 4, seed = 1 } = options;
  const { dtype = 'F32' } = options;
  await mkdir(folder, { recursive: true });
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    vocab_size: vocabulary,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: heads / 2,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    bos_token_id: 1,
    eos_token_id: 2,
    tie_word_embeddings: true,
    rope_parameters: { rope_type: 'default', rope_theta: 10000 },
    dtype: { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }[dtype],
  };
  await writeFile(path.join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  const random = gaussian(seed);
  const shapes: [string, number[]][] = [['model.embed_tokens.weight', [vocabulary, hidden]]];
  const half = hidden / 2;
  for (let layer = 0; layer < layers; layer += 1) {
    const prefix = `model.layers.${layer}`;
    shapes.push(
      [`${prefix}.input_layernorm.weight`, [hidden]],
      [`${prefix}.self_attn.q_proj.weight`, [hidden, hidden]],
      [`${prefix}.self_attn.k_proj.weight`, [half, hidden]],
      [`${prefix}.self_attn.v_proj.weight`, [half, hidden]],
      [`${prefix}.self_attn.o_proj.weight`, [hidden, hidden]],
      [`${prefix}.post_attention_layernorm.weight`, [hidden]],
      [`${prefix}.mlp.gate_proj.weight`, [intermediate, hidden]],
      [`${prefix}.mlp.up_proj.weight`, [intermediate, hidden]],
      [`${prefix}.mlp.down_proj.weight`, [hidden, intermediate]],
    );
  }
  shapes.push(['model.norm.weight', [hidden]]);
  const sources = shapes.map(([name, shape]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = Float32Array.from({ length: count }, () => (shape.length === 1 ? 1 : 0.05 * random()));
    return { name, dtype, shape, chunks: () => [fromFloat32(data, dtype)] };
  });
  await writeSafetensors(path.join(folder, 'model.safetensors'), sources);
}

/** Draws from a normal distribution (Box–Muller). */
function gaussian(seed: number): () => number {
  const random = new Random(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}
