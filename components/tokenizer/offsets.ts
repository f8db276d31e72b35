/**
 * Finds where in its text each token came from. The tokenizer library gives tokens without their offsets; this walks
 * text and tokens side by side. Positions are UTF-16 code units; a token that is a part of a character has the whole
 * character.
 */
import { ModelError } from '../../shared/errors.js';
import { truncate } from '../../shared/format.js';

export type Offset = readonly [start: number, end: number];

export interface AddedTokenRule {
  /** Swallow white space before or after. */
  lstrip: boolean;
  rstrip: boolean;
}

export interface OffsetScheme {
  /** Tokens spell bytes in GPT-2's alphabet; otherwise characters, with ▁ for a space and <0xNN> for a byte. */
  byteLevel: boolean;
  /** A space may have been put before a piece of text that has none. */
  prefixSpace: boolean;
  added: ReadonlyMap<string, AddedTokenRule>;
  /** Null when the tokenizer leaves the text unchanged. */
  normalize: ((text: string) => string) | null;
}

/**
 * Returns one [start, end) per token of `tokens`, which must be all tokens of `text` in order.
 * @throws ModelError when they do not fit
 */
export function alignTokens(text: string, tokens: readonly string[], scheme: OffsetScheme): Offset[] {
  if (scheme.normalize === null || scheme.normalize(text) === text) return walk(text, tokens, scheme);
  const normalized = normalizeByClusters(text, scheme.normalize);
  return walk(normalized.text, tokens, scheme).map(([start, end]) => [
    normalized.starts[start]!,
    end === start ? normalized.starts[start]! : normalized.ends[end - 1]!,
  ]);
}

function walk(text: string, tokens: readonly string[], scheme: OffsetScheme): Offset[] {
  return scheme.byteLevel ? walkBytes(text, tokens, scheme) : walkCharacters(text, tokens, scheme);
}

function walkBytes(text: string, tokens: readonly string[], scheme: OffsetScheme): Offset[] {
  const { starts, ends, length } = characterOfByte(text);
  const offsets: Offset[] = [];
  let cursor = 0;
  let sectionStart = true;
  for (const token of tokens) {
    const rule = scheme.added.get(token);
    if (rule !== undefined) {
      const start = starts[cursor]!;
      const end = endOfAdded(text, start, token, rule);
      offsets.push([start, end]);
      cursor += Buffer.byteLength(text.slice(start, end));
      sectionStart = true;
      continue;
    }
    // Every letter of the alphabet is one UTF-16 unit and represents one byte.
    const prefixed =
      scheme.prefixSpace && sectionStart && token.startsWith('Ġ') && text[starts[cursor]!] !== ' ';
    const end = cursor + token.length - (prefixed ? 1 : 0);
    if (end > length) throw misfit(text, token);
    offsets.push([starts[cursor]!, end === cursor ? starts[cursor]! : ends[end - 1]!]);
    cursor = end;
    sectionStart = false;
  }
  if (cursor !== length) throw misfit(text, null);
  return offsets;
}

/** Returns where the character of each UTF-8 byte of `text` starts and ends; one entry more for the end. */
function characterOfByte(text: string): { starts: Int32Array; ends: Int32Array; length: number } {
  const length = Buffer.byteLength(text);
  const starts = new Int32Array(length + 1);
  const ends = new Int32Array(length + 1);
  let byte = 0;
  for (let i = 0; i < text.length; ) {
    const code = text.codePointAt(i)!;
    const units = code > 0xffff ? 2 : 1;
    const bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    starts.fill(i, byte, byte + bytes);
    ends.fill(i + units, byte, byte + bytes);
    byte += bytes;
    i += units;
  }
  starts[length] = text.length;
  ends[length] = text.length;
  return { starts, ends, length };
}

function walkCharacters(text: string, tokens: readonly string[], scheme: OffsetScheme): Offset[] {
  const offsets: Offset[] = [];
  let cursor = 0;
  let sectionStart = true;
  for (let i = 0; i < tokens.length; ) {
    const token = tokens[i]!;
    const rule = scheme.added.get(token);
    if (rule !== undefined) {
      const end = endOfAdded(text, cursor, token, rule);
      offsets.push([cursor, end]);
      cursor = end;
      sectionStart = true;
      i++;
      continue;
    }
    const run = byteRun(tokens, i);
    const surface = run.length > 0 ? Buffer.from(run).toString('utf8') : token.replaceAll('▁', ' ');
    const prefixed =
      scheme.prefixSpace && sectionStart && surface.startsWith(' ') && !matches(text, surface, cursor);
    const body = prefixed ? surface.slice(1) : surface;
    if (!matches(text, body, cursor)) throw misfit(text, token);
    if (run.length > 0) offsets.push(...byteOffsets(body, cursor));
    else offsets.push([cursor, cursor + body.length]);
    cursor += body.length;
    sectionStart = false;
    i += Math.max(1, run.length);
  }
  if (cursor !== text.length) throw misfit(text, null);
  return offsets;
}

/** Returns whether the surface matches there; a ▁ in the text itself was read as a space too. */
function matches(text: string, surface: string, position: number): boolean {
  return (
    text.startsWith(surface, position) ||
    text.slice(position, position + surface.length).replaceAll('▁', ' ') === surface
  );
}

/** Returns the bytes of the <0xNN> tokens from `from` on. */
function byteRun(tokens: readonly string[], from: number): number[] {
  const bytes: number[] = [];
  for (let i = from; i < tokens.length; i++) {
    const match = /^<0x([0-9A-F]{2})>$/.exec(tokens[i]!);
    if (match === null) break;
    bytes.push(Number.parseInt(match[1]!, 16));
  }
  return bytes;
}

/** Returns one offset per byte of `body`. */
function byteOffsets(body: string, position: number): Offset[] {
  const { starts, ends, length } = characterOfByte(body);
  return Array.from({ length }, (_, byte) => [position + starts[byte]!, position + ends[byte]!] as const);
}

function endOfAdded(text: string, start: number, token: string, rule: AddedTokenRule): number {
  let position = start;
  if (rule.lstrip) while (/\s/u.test(text[position] ?? '')) position++;
  if (!text.startsWith(token, position)) throw misfit(text, token);
  position += token.length;
  if (rule.rstrip) while (/\s/u.test(text[position] ?? '')) position++;
  return position;
}

/**
 * Normalizes piece by piece, where a piece is a character with the marks that may compose with it, and notes for each
 * unit of the result which piece it came from.
 */
function normalizeByClusters(
  text: string,
  normalize: (text: string) => string,
): { text: string; starts: number[]; ends: number[] } {
  const starts: number[] = [];
  const ends: number[] = [];
  let result = '';
  // Conjoining Hangul letters compose with each other without being marks.
  for (const match of text.matchAll(/[\u1100-\u11ff]+\p{M}*|[\s\S]\p{M}*/gu)) {
    const piece = normalize(match[0]);
    for (let i = 0; i < piece.length; i++) {
      starts.push(match.index);
      ends.push(match.index + match[0].length);
    }
    result += piece;
  }
  starts.push(text.length);
  if (result !== normalize(text)) {
    throw new ModelError(
      "this tokenizer's normalizer changes the text in a way that token positions cannot be traced through",
    );
  }
  return { text: result, starts, ends };
}

function misfit(text: string, token: string | null): ModelError {
  const excerpt = JSON.stringify(truncate(text, 60));
  const what = token === null ? 'end before the text does' : `do not fit at ${JSON.stringify(token)}`;
  return new ModelError(`token positions cannot be determined: the tokens of ${excerpt} ${what}`);
}
