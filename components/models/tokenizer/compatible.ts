/**
 * Corrections to a tokenizer.json before @huggingface/tokenizers 0.2.0 reads it. That library keeps two pre-tokenizers as
 * hard-coded JavaScript regular expressions whose classes are not Unicode's: `\s` there takes U+FEFF for white space and
 * U+0085 for none, and its `\d` knows ASCII digits alone. The same splits written as `Split` go through its translation of
 * regular expressions, which has them right, and then give the tokens that the Rust library gives.
 */

/** GPT-2's pattern (Radford et al. 2019), which `ByteLevel` implies where `use_regex` is not false. */
export const gpt2Pattern =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

export interface PreTokenizer {
  type: string;
  [key: string]: unknown;
}

/** A pre-tokenizer that gives the same pieces by regular expressions that the library translates. */
export function compatiblePreTokenizer(config: PreTokenizer): PreTokenizer {
  switch (config.type) {
    case 'Sequence':
      return {
        ...config,
        pretokenizers: (config.pretokenizers as PreTokenizer[]).map(compatiblePreTokenizer),
      };
    case 'Digits':
      return split(config.individual_digits ? '\\p{N}' : '\\p{N}+');
    case 'ByteLevel':
      // A prefix space must be there before the pattern is applied, so that form stays as it is.
      if (config.use_regex === false || config.add_prefix_space === true) return config;
      return { type: 'Sequence', pretokenizers: [split(gpt2Pattern), { ...config, use_regex: false }] };
    default:
      return config;
  }
}

function split(regex: string): PreTokenizer {
  return { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
}
