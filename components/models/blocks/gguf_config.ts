/** The config.json that the metadata of a GGUF file amounts to; llama.cpp's convert_hf_to_gguf.py read backwards. */
import { open } from 'node:fs/promises';
import { ModelError } from '../../../shared/errors.js';
import { type GgufFile, ggufArray, ggufMeta, requireGgufNumber } from '../gguf/parse.js';
import { type Rope, ropeFrequencies } from './rope.js';

export interface GgufFamily {
  /** `architectures[0]` of config.json. */
  architecture: string;
  /** `model_type` of config.json. */
  modelType: string;
  /** `general.architecture`, with which the keys of the metadata begin. */
  ggufArchitecture: string;
}

/** Returns the config without its `dtype`. @throws ModelError where the metadata say what no supported model has */
export async function textConfigFromGguf(
  gguf: GgufFile,
  { architecture, modelType, ggufArchitecture: prefix }: GgufFamily,
): Promise<Record<string, unknown>> {
  const number = (key: string) => ggufMeta(gguf, `${prefix}.${key}`, 'number');
  const required = (key: string) => requireGgufNumber(gguf, `${prefix}.${key}`);
  if ((number('expert_count') ?? 0) > 0)
    throw new ModelError(`${gguf.file}: mixtures of experts are not supported`);
  const hidden = required('embedding_length');
  const heads = required('attention.head_count');
  const headDim = number('attention.key_length') ?? number('rope.dimension_count') ?? hidden / heads;
  if ((number('rope.dimension_count') ?? headDim) !== headDim) {
    throw new ModelError(
      `${gguf.file}: ${prefix}.rope.dimension_count differs from the head size, ${headDim}; partial rotary embedding is not supported`,
    );
  }
  const vocabulary = ggufArray(gguf, 'tokenizer.ggml.tokens', 'string')?.length;
  const embedding = gguf.tensors.get('token_embd.weight')?.shape[0];
  const config: Record<string, unknown> = {
    architectures: [architecture],
    model_type: modelType,
    vocab_size: embedding ?? number('vocab_size') ?? vocabulary,
    hidden_size: hidden,
    intermediate_size: required('feed_forward_length'),
    num_hidden_layers: required('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: number('attention.head_count_kv') ?? heads,
    head_dim: headDim,
    hidden_act: 'silu',
    max_position_embeddings: required('context_length'),
    initializer_range: 0.02,
    // Stored in single precision: 1e-5 would come back as 9.999999747378752e-06.
    rms_norm_eps: shortest(required('attention.layer_norm_rms_epsilon')),
    tie_word_embeddings: !gguf.tensors.has('output.weight'),
    attention_bias: gguf.tensors.has('blk.0.attn_q.bias'),
    attention_dropout: 0,
    mlp_bias: gguf.tensors.has('blk.0.ffn_down.bias'),
    use_cache: true,
    bos_token_id: ggufMeta(gguf, 'tokenizer.ggml.bos_token_id', 'number') ?? null,
    eos_token_id: ggufMeta(gguf, 'tokenizer.ggml.eos_token_id', 'number') ?? null,
    pad_token_id: ggufMeta(gguf, 'tokenizer.ggml.padding_token_id', 'number') ?? null,
  };
  const rope = await ropeFromGguf(gguf, prefix, headDim);
  // Both spellings, so that transformers before 5 read the folder as well.
  config.rope_parameters = rope;
  config.rope_theta = rope.rope_theta;
  if (rope.rope_type !== 'default') {
    const { rope_theta: _, ...scaling } = rope;
    config.rope_scaling = scaling;
  }
  return config;
}

async function ropeFromGguf(gguf: GgufFile, prefix: string, headDim: number): Promise<Rope> {
  const rope_theta = shortest(ggufMeta(gguf, `${prefix}.rope.freq_base`, 'number') ?? 10_000);
  if (gguf.tensors.has('rope_freqs.weight')) return llama3FromFactors(gguf, rope_theta, headDim);
  const scaling = (key: string) => ggufMeta(gguf, `${prefix}.rope.scaling.${key}`, 'number');
  const type = ggufMeta(gguf, `${prefix}.rope.scaling.type`, 'string') ?? 'none';
  const factor = shortest(scaling('factor') ?? 1);
  const original = scaling('original_context_length') ?? requireGgufNumber(gguf, `${prefix}.context_length`);
  if (type === 'none' || (type === 'linear' && factor === 1)) return { rope_type: 'default', rope_theta };
  if (type === 'linear') return { rope_type: 'linear', rope_theta, factor };
  if (type === 'yarn')
    return { rope_type: 'yarn', rope_theta, factor, original_max_position_embeddings: original };
  throw new ModelError(
    `${gguf.file}: ${prefix}.rope.scaling.type ${JSON.stringify(type)} is not supported; supported: none, linear, yarn`,
  );
}

/** Llama 3.1's scaling is stored as a divisor per frequency. The one set of parameters in use is confirmed against them. */
async function llama3FromFactors(gguf: GgufFile, rope_theta: number, headDim: number): Promise<Rope> {
  const tensor = gguf.tensors.get('rope_freqs.weight')!;
  if (tensor.type !== 0 || tensor.elements !== headDim / 2) {
    throw new ModelError(
      `${gguf.file}: tensor "rope_freqs.weight" should hold ${headDim / 2} float32 values`,
    );
  }
  const handle = await open(gguf.file);
  const buffer = Buffer.alloc(tensor.byteLength);
  try {
    await handle.read(buffer, 0, buffer.length, tensor.byteOffset);
  } finally {
    await handle.close();
  }
  const divisors = Array.from({ length: tensor.elements }, (_, i) => buffer.readFloatLE(4 * i));
  const rope: Rope = {
    rope_type: 'llama3',
    rope_theta,
    factor: Math.max(...divisors),
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const plain = ropeFrequencies({ rope_type: 'default', rope_theta }, headDim).frequencies;
  const scaled = ropeFrequencies(rope, headDim).frequencies;
  const agrees = divisors.every((divisor, i) => Math.abs(plain[i]! / scaled[i]! / divisor - 1) < 1e-4);
  if (!agrees)
    throw new ModelError(
      `${gguf.file}: tensor "rope_freqs.weight" holds no scaling that config.json can express`,
    );
  return rope;
}

/** Returns the shortest decimal that gives the same float32. */
function shortest(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
