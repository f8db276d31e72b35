/**
 * Rotary position embedding (Su et al. 2021) and its context extensions: the frequencies, and the table that the
 * `rope` op reads. Every rounding of transformers' `modeling_rope_utils` is repeated here (it computes in float32),
 * because at position 8192 one unit in a frequency's last place already turns the angle by 5e-4.
 */
import { z } from 'zod';

const positive = z.number().positive();
const theta = { rope_theta: positive };
/** The length the model was pretrained with, before its context was extended. */
const original = { original_max_position_embeddings: z.int().positive() };

/** `rope_parameters` as transformers 5 writes them, with defaults filled in. Other kinds are refused by name. */
export const ropeSchema = z.discriminatedUnion(
  'rope_type',
  [
    z.object({ rope_type: z.literal('default'), ...theta }),
    z.object({ rope_type: z.literal('linear'), ...theta, factor: positive }),
    z.object({
      rope_type: z.literal('llama3'),
      ...theta,
      ...original,
      factor: positive,
      low_freq_factor: positive,
      high_freq_factor: positive,
    }),
    z.object({
      rope_type: z.literal('yarn'),
      ...theta,
      ...original,
      factor: positive,
      attention_factor: positive.nullish(),
      beta_fast: positive.nullish(),
      beta_slow: positive.nullish(),
      mscale: z.number().min(0).nullish(),
      mscale_all_dim: z.number().min(0).nullish(),
      truncate: z.boolean().nullish(),
    }),
  ],
  {
    error: (issue) => {
      const ropeType = (issue.input as { rope_type?: unknown } | null)?.rope_type;
      return `rope_type ${JSON.stringify(ropeType)} is not supported; supported: default, linear, llama3, yarn`;
    },
  },
);
export type Rope = z.infer<typeof ropeSchema>;

type Extended<T extends Rope['rope_type']> = Extract<Rope, { rope_type: T }>;

const f32 = Math.fround;

/**
 * Returns the angle per position of each of the K/2 pairs, in float32, and the factor on cosines and sines
 * (1 except for YaRN, Peng et al. 2023, eq. 22).
 */
export function ropeFrequencies(
  rope: Rope,
  headDim: number,
): { frequencies: Float32Array; attentionFactor: number } {
  const wavelengths = Float32Array.from({ length: headDim / 2 }, (_, j) =>
    f32(f32(rope.rope_theta) ** f32(f32(2 * j) / headDim)),
  );
  const frequencies = wavelengths.map((wavelength) => 1 / wavelength);
  switch (rope.rope_type) {
    case 'default':
      return { frequencies, attentionFactor: 1 };
    case 'linear':
      return { frequencies: frequencies.map((frequency) => frequency / rope.factor), attentionFactor: 1 };
    case 'llama3':
      return {
        frequencies: frequencies.map((frequency) => llama3Frequency(rope, frequency)),
        attentionFactor: 1,
      };
    case 'yarn':
      return {
        frequencies: yarnFrequencies(rope, wavelengths, headDim),
        attentionFactor: rope.attention_factor ?? yarnAttentionFactor(rope),
      };
  }
}

/** Returns a frequency of Llama 3.1: long wavelengths are interpolated, short ones kept, those between are blended. */
function llama3Frequency(rope: Extended<'llama3'>, frequency: number): number {
  const {
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: length,
  } = rope;
  const wavelength = f32((2 * Math.PI) / frequency);
  if (wavelength < length / high) return frequency;
  if (wavelength > length / low) return f32(frequency / factor);
  const smooth = f32(f32(f32(length / wavelength) - low) / (high - low));
  return f32(f32(f32(f32(1 - smooth) * frequency) / factor) + f32(smooth * frequency));
}

function yarnFrequencies(rope: Extended<'yarn'>, wavelengths: Float32Array, headDim: number): Float32Array {
  const [low, high] = yarnCorrectionRange(rope, headDim);
  return wavelengths.map((wavelength, j) => {
    const ramp = f32(Math.min(1, Math.max(0, f32(f32(j - low) / f32(high - low)))));
    const extrapolated = f32(1 - ramp);
    const interpolation = f32(1 / f32(rope.factor * wavelength));
    return f32(f32(interpolation * f32(1 - extrapolated)) + f32(f32(1 / wavelength) * extrapolated));
  });
}

/** Pairs that turn more than beta_fast times in the original context are kept, those below beta_slow interpolated. */
function yarnCorrectionRange(rope: Extended<'yarn'>, headDim: number): [low: number, high: number] {
  const pairOf = (rotations: number) =>
    (headDim * Math.log(rope.original_max_position_embeddings / (rotations * 2 * Math.PI))) /
    (2 * Math.log(rope.rope_theta));
  let low = pairOf(rope.beta_fast || 32);
  let high = pairOf(rope.beta_slow || 1);
  if (rope.truncate ?? true) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, headDim - 1);
  return low === high ? [low, high + 0.001] : [low, high];
}

function yarnAttentionFactor({ factor, mscale, mscale_all_dim: mscaleAll }: Extended<'yarn'>): number {
  const scale = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  return mscale && mscaleAll ? scale(mscale) / scale(mscaleAll) : scale(1);
}

/** Returns the table of the `rope` op, [positions, K]: row p holds K/2 cosines, then K/2 sines. */
export function ropeTable(rope: Rope, headDim: number, positions: number): Float32Array {
  const { frequencies, attentionFactor } = ropeFrequencies(rope, headDim);
  const half = headDim / 2;
  const table = new Float32Array(positions * headDim);
  for (let p = 0; p < positions; p++) {
    for (let j = 0; j < half; j++) {
      const angle = f32(p * frequencies[j]!);
      table[p * headDim + j] = f32(Math.cos(angle)) * attentionFactor;
      table[p * headDim + half + j] = f32(Math.sin(angle)) * attentionFactor;
    }
  }
  return table;
}
