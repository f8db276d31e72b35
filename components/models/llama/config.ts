/** The configuration of a Llama-family decoder, read from a Hugging Face config.json of transformers 4 or 5. */
import { z } from 'zod';
import { ModelError } from '../../../shared/errors.js';
import { type Rope, ropeSchema } from '../rope.js';

export const architecture = 'LlamaForCausalLM';

/** The engine counts in 32 bits. */
const size = z.int().positive().max(0x7fff_ffff);
/** Several times what any model has: each layer's tensors are listed before the weights are looked at. */
const layerCount = z.int().positive().max(4096);
const tokenId = z.int().min(0).max(0x7fff_ffff).nullish();

/** Only what decides the numbers; a config.json carries much else. Defaults are transformers' LlamaConfig's. */
const fileSchema = z.object({
  vocab_size: size.default(32000),
  hidden_size: size.default(4096),
  intermediate_size: size.default(11008),
  num_hidden_layers: layerCount.default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  hidden_act: z
    .literal('silu', { error: (issue) => `only 'silu' is supported, not ${JSON.stringify(issue.input)}` })
    .default('silu'),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  attention_dropout: z
    .literal(0, { error: () => 'attention dropout is not supported; set it to 0' })
    .nullish(),
  bos_token_id: tokenId,
  eos_token_id: z.union([z.int().min(0), z.array(z.int().min(0))]).nullish(),
  pad_token_id: z.int().nullish(),
  quantization_config: z
    .undefined({
      error: () =>
        'a quantised checkpoint; only float32, bfloat16 and float16 weights and GGUF files are supported',
    })
    .optional(),
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
});

export interface LlamaConfig {
  architecture: typeof architecture;
  /** V */
  vocabSize: number;
  /** D */
  hiddenSize: number;
  /** F */
  intermediateSize: number;
  layers: number;
  /** H */
  heads: number;
  /** G */
  kvHeads: number;
  /** K */
  headDim: number;
  maxPositions: number;
  rmsNormEps: number;
  tiedEmbeddings: boolean;
  attentionBias: boolean;
  mlpBias: boolean;
  rope: Rope;
  bosTokenId: number | null;
  eosTokenIds: number[];
  padTokenId: number | null;
}

/** Reads a parsed config.json. Throws ModelError that lists every problem by key; `place` names the file. */
export function parseLlamaConfig(json: Record<string, unknown>, place: string): LlamaConfig {
  const problems: string[] = [];
  const file = fileSchema.safeParse(json);
  if (!file.success)
    problems.push(...file.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`));
  const rope = ropeSchema.safeParse(ropeOf(json));
  if (!rope.success) {
    const key = json.rope_parameters != null ? 'rope_parameters' : 'rope_scaling';
    problems.push(...rope.error.issues.map((issue) => `${[key, ...issue.path].join('.')}: ${issue.message}`));
  }
  const partial = partialRotaryFactor(json);
  if (partial !== 1)
    problems.push(`partial_rotary_factor: only 1 is supported, not ${JSON.stringify(partial)}`);
  if (!file.success || !rope.success || problems.length > 0) throw invalid(place, problems);

  const heads = file.data.num_attention_heads;
  const config: LlamaConfig = {
    architecture,
    vocabSize: file.data.vocab_size,
    hiddenSize: file.data.hidden_size,
    intermediateSize: file.data.intermediate_size,
    layers: file.data.num_hidden_layers,
    heads,
    kvHeads: file.data.num_key_value_heads ?? heads,
    headDim: file.data.head_dim ?? file.data.hidden_size / heads,
    maxPositions: file.data.max_position_embeddings,
    rmsNormEps: file.data.rms_norm_eps,
    tiedEmbeddings: file.data.tie_word_embeddings,
    attentionBias: file.data.attention_bias,
    mlpBias: file.data.mlp_bias,
    rope: rope.data,
    bosTokenId: file.data.bos_token_id ?? null,
    eosTokenIds: [file.data.eos_token_id ?? []].flat(),
    padTokenId: file.data.pad_token_id ?? null,
  };
  problems.push(...shapeProblems(config));
  if (problems.length > 0) throw invalid(place, problems);
  return config;
}

/** `rope_parameters` of transformers 5, or the same gathered from `rope_theta` and `rope_scaling` before it. */
function ropeOf(json: Record<string, unknown>): unknown {
  const given = json.rope_parameters ?? json.rope_scaling ?? {};
  if (typeof given !== 'object' || Array.isArray(given)) return { rope_type: given };
  const parameters = given as Record<string, unknown>;
  return {
    ...parameters,
    rope_type: parameters.rope_type ?? parameters.type ?? 'default',
    rope_theta: parameters.rope_theta ?? json.rope_theta ?? 10_000,
    original_max_position_embeddings:
      json.original_max_position_embeddings ??
      parameters.original_max_position_embeddings ??
      json.max_position_embeddings ??
      2048,
  };
}

function partialRotaryFactor(json: Record<string, unknown>): unknown {
  const parameters = json.rope_parameters as Record<string, unknown> | null | undefined;
  return parameters?.partial_rotary_factor ?? json.partial_rotary_factor ?? 1;
}

function shapeProblems(config: LlamaConfig): string[] {
  const problems: string[] = [];
  if (config.heads % config.kvHeads !== 0) {
    problems.push(
      `num_attention_heads: ${config.heads} heads cannot share ${config.kvHeads} key-value heads evenly`,
    );
  }
  if (!Number.isInteger(config.headDim)) {
    problems.push(
      `hidden_size: ${config.hiddenSize} is not a multiple of num_attention_heads, ${config.heads}, and head_dim is not given`,
    );
  } else if (config.headDim % 2 !== 0) {
    problems.push(`head_dim: rotary embedding pairs elements, so it must be even, not ${config.headDim}`);
  }
  return problems;
}

function invalid(place: string, problems: string[]): ModelError {
  return new ModelError(
    `${place}: this ${architecture} cannot be used\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
  );
}
