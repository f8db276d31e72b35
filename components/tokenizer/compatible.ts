/**
 * Corrections around @huggingface/tokenizers 0.2.0, so that it gives what the Rust library gives. It keeps two
 * pre-tokenizers as hard-coded JavaScript regular expressions whose classes are not Unicode's: `\s` there takes U+FEFF
 * for white space and U+0085 for none, and its `\d` matches only ASCII digits. The same splits written as `Split` go
 * through its translation of regular expressions, which has them right. Its byte fallback drops a byte order mark.
 */

/** GPT-2's pattern (Radford et al. 2019), which `ByteLevel` implies where `use_regex` is not false. */
export const gpt2Pattern =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

export interface PreTokenizer {
  type: string;
  [key: string]: unknown;
}

/** Returns a pre-tokenizer that gives the same pieces by regular expressions that the library translates. */
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

/**
 * Gives the decoder `ByteFallback`, at any depth of a parsed decoder, Rust's reading of a run of bytes: their text as it
 * is, or U+FFFD for each byte when they are no UTF-8.
 */
export function correctByteFallback(decoder: unknown): void {
  const node = (decoder ?? {}) as { config?: { type?: string }; decoders?: unknown[] };
  for (const child of node.decoders ?? []) correctByteFallback(child);
  if (node.config?.type === 'ByteFallback') Object.assign(node, { text_decoder: { decode: decodeBytes } });
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeBytes(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return '\ufffd'.repeat(bytes.length);
  }
}
