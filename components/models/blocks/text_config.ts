/**
 * The part of config.json that decoders share, as transformers 4 and 5 write it. A family extends `textConfig` by the
 * keys of its own that decide numbers; config.json carries much else, which is left alone.
 */
import { z } from 'zod';
import { ModelError } from '../../../shared/errors.js';
import type { AttentionGeometry } from './family.js';
import { type Rope, ropeSchema } from './rope.js';

/** The engine counts in 32 bits. */
const size = z.int().positive().max(0x7fff_ffff);
/** Several times what any model has: each layer's tensors are listed before the weights are looked at. */
const layerCount = z.int().positive().max(4096);
const tokenId = z.int().min(0).max(0x7fff_ffff).nullish();

/** Defaults are those of transformers' LlamaConfig. */
export const textConfig = z.object({
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
  attention_dropout: z
    .literal(0, { error: () => 'attention dropout is not supported; set it to 0' })
    .nullish(),
  bos_token_id: tokenId,
  eos_token_id: z.union([z.int().min(0), z.array(z.int().min(0))]).nullish(),
  pad_token_id: z.int().nullish(),
  quantization_config: z
    .undefined({
      error: () =>
        'a quantized checkpoint; only float32, bfloat16 and float16 weights and GGUF files are supported',
    })
    .optional(),
});

/** The base that every family's schema extends; a family may have another activation function. */
export type TextConfigSchema = z.ZodType<
  Omit<z.output<typeof textConfig>, 'hidden_act'> & { hidden_act: string }
>;

/** A config as forward functions see it: what the file may leave out is filled in. */
export type TextConfig<Schema extends TextConfigSchema = TextConfigSchema> = z.output<Schema> & {
  /** G */
  num_key_value_heads: number;
  /** K */
  head_dim: number;
  rope: Rope;
};

/** Returns the heads of every layer. */
export const heads = (config: TextConfig): AttentionGeometry => ({
  heads: config.num_attention_heads,
  kvHeads: config.num_key_value_heads,
  headDim: config.head_dim,
});

/**
 * Reads a parsed config.json.
 *
 * @param location names the file in errors
 * @throws ModelError that lists every problem by key
 */
export function readTextConfig<Schema extends TextConfigSchema>(
  schema: Schema,
  json: Record<string, unknown>,
  { location, architecture }: { location: string; architecture: string },
): TextConfig<Schema> {
  const problems: string[] = [];
  const file = schema.safeParse(json);
  if (!file.success)
    problems.push(...file.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`));
  const rope = ropeSchema.safeParse(ropeParameters(json));
  if (!rope.success) {
    const key = json.rope_parameters != null ? 'rope_parameters' : 'rope_scaling';
    problems.push(...rope.error.issues.map((issue) => `${[key, ...issue.path].join('.')}: ${issue.message}`));
  }
  const partial = partialRotaryFactor(json);
  if (partial !== 1)
    problems.push(`partial_rotary_factor: only 1 is supported, not ${JSON.stringify(partial)}`);
  if (!file.success || !rope.success || problems.length > 0) throw invalid(architecture, location, problems);

  const { num_attention_heads: count, num_key_value_heads, head_dim, hidden_size } = file.data;
  const config = {
    ...file.data,
    num_key_value_heads: num_key_value_heads ?? count,
    head_dim: head_dim ?? hidden_size / count,
    rope: rope.data,
  };
  problems.push(...headProblems(config));
  if (problems.length > 0) throw invalid(architecture, location, problems);
  return config;
}

/** Returns `rope_parameters` of transformers 5, or the same gathered from `rope_theta` and `rope_scaling` before it. */
function ropeParameters(json: Record<string, unknown>): unknown {
  const rope = json.rope_parameters ?? json.rope_scaling ?? {};
  if (typeof rope !== 'object' || Array.isArray(rope)) return { rope_type: rope };
  const parameters = rope as Record<string, unknown>;
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

function headProblems(config: TextConfig): string[] {
  const problems: string[] = [];
  const { heads: count, kvHeads, headDim } = heads(config);
  if (count % kvHeads !== 0)
    problems.push(`num_attention_heads: ${count} heads cannot share ${kvHeads} key-value heads evenly`);
  if (!Number.isInteger(headDim)) {
    problems.push(
      `hidden_size: ${config.hidden_size} is not a multiple of num_attention_heads, ${count}, and head_dim is not given`,
    );
  } else if (headDim % 2 !== 0) {
    problems.push(`head_dim: rotary embedding pairs elements, so it must be even, not ${headDim}`);
  }
  return problems;
}

function invalid(architecture: string, location: string, problems: string[]): ModelError {
  return new ModelError(
    `${location}: this ${architecture} cannot be used\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
  );
}
