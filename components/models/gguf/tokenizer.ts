/** tokenizer.json and tokenizer_config.json rebuilt from the metadata of a GGUF file. */
import { ModelError } from '../../../shared/errors.js';
import { type GgufFile, ggufArray, ggufMeta } from './parse.js';

/** llama.cpp's token types. */
const unknownType = 2;
const controlType = 3;
const userDefinedType = 4;

const llama3Pattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const tekkenPattern =
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

interface PreTokenizerRule {
  pre: object;
  /** A word that is a token is taken whole, whatever the merges say. */
  ignoreMerges: boolean;
}

const byteLevel = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const byPattern = (regex: string, ignoreMerges: boolean): PreTokenizerRule => ({
  pre: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false },
      byteLevel(false),
    ],
  },
  ignoreMerges,
});
const digitsThenGpt2: PreTokenizerRule = {
  pre: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(true)] },
  ignoreMerges: false,
};

/** `tokenizer.ggml.pre`, as llama.cpp's convert_hf_to_gguf.py names them → how the vocabulary's own tokenizer.json splits text. */
const preTokenizers: ReadonlyMap<string, PreTokenizerRule> = new Map([
  ['default', { pre: byteLevel(true), ignoreMerges: false }],
  ['gpt-2', { pre: byteLevel(true), ignoreMerges: false }],
  ['smollm', digitsThenGpt2],
  ['starcoder', digitsThenGpt2],
  ['llama3', byPattern(llama3Pattern, true)],
  ['llama-v3', byPattern(llama3Pattern, true)],
  ['llama-bpe', byPattern(llama3Pattern, true)],
  ['tekken', byPattern(tekkenPattern, true)],
]);

export interface GgufTokenizer {
  tokenizer: Record<string, unknown>;
  config: Record<string, unknown>;
}

/** @throws ModelError naming the metadata key that is missing, malformed or of an unknown kind */
export function tokenizerFromGguf(gguf: GgufFile): GgufTokenizer {
  const kind = ggufMeta(gguf, 'tokenizer.ggml.model', 'string');
  const tokens = ggufArray(gguf, 'tokenizer.ggml.tokens', 'string');
  if (kind === undefined || tokens === undefined) {
    throw new ModelError(`${gguf.file}: holds no tokenizer (tokenizer.ggml.model and tokenizer.ggml.tokens)`);
  }
  if (new Set(tokens).size !== tokens.length) {
    throw new ModelError(`${gguf.file}: metadata tokenizer.ggml.tokens holds a token twice`);
  }
  const types = ggufArray(gguf, 'tokenizer.ggml.token_type', 'number') ?? [];
  const pre = ggufMeta(gguf, 'tokenizer.ggml.pre', 'string') ?? 'default';
  const special = specialTokens(gguf, tokens);
  const addBos =
    ggufMeta(gguf, 'tokenizer.ggml.add_bos_token', 'boolean') ??
    (kind === 'llama' || pre.startsWith('llama'));
  const addEos = ggufMeta(gguf, 'tokenizer.ggml.add_eos_token', 'boolean') ?? false;
  const body =
    kind === 'gpt2'
      ? byteLevelBpe(gguf, tokens, pre)
      : kind === 'llama'
        ? sentencePiece(gguf, tokens, special)
        : null;
  if (body === null) {
    throw new ModelError(
      `${gguf.file}: tokenizer.ggml.model ${JSON.stringify(kind)} is not supported; supported: gpt2, llama`,
    );
  }
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(tokens, types),
    ...body,
    post_processor: postProcessor(
      addBos ? (special.bos_token ?? null) : null,
      addEos ? (special.eos_token ?? null) : null,
      tokens,
    ),
  };
  const template = ggufMeta(gguf, 'tokenizer.chat_template', 'string');
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    clean_up_tokenization_spaces: false,
    model_max_length:
      ggufMeta(gguf, `${ggufMeta(gguf, 'general.architecture', 'string')}.context_length`, 'number') ?? null,
    ...special,
    ...(template === undefined ? {} : { chat_template: template }),
  };
  return { tokenizer, config };
}

function specialTokens(gguf: GgufFile, tokens: string[]): Record<string, string> {
  const keys = { bos_token: 'bos', eos_token: 'eos', unk_token: 'unknown', pad_token: 'padding' };
  const special: Record<string, string> = {};
  for (const [name, key] of Object.entries(keys)) {
    const id = ggufMeta(gguf, `tokenizer.ggml.${key}_token_id`, 'number');
    if (id === undefined) continue;
    const token = tokens[id];
    if (token === undefined)
      throw new ModelError(
        `${gguf.file}: tokenizer.ggml.${key}_token_id ${id} is beyond the vocabulary of ${tokens.length}`,
      );
    special[name] = token;
  }
  return special;
}

function addedTokens(tokens: string[], types: number[]): object[] {
  const added: object[] = [];
  for (const [id, content] of tokens.entries()) {
    const type = types[id];
    if (type !== controlType && type !== userDefinedType && type !== unknownType) continue;
    const special = type !== userDefinedType;
    added.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special });
  }
  return added;
}

function byteLevelBpe(gguf: GgufFile, tokens: string[], pre: string): object {
  const rule = preTokenizers.get(pre);
  if (rule === undefined) {
    const supported = [...preTokenizers.keys()].join(', ');
    throw new ModelError(
      `${gguf.file}: tokenizer.ggml.pre ${JSON.stringify(pre)} is not supported; supported: ${supported}`,
    );
  }
  const merges = ggufArray(gguf, 'tokenizer.ggml.merges', 'string');
  if (merges === undefined) throw new ModelError(`${gguf.file}: metadata tokenizer.ggml.merges is missing`);
  return {
    normalizer: null,
    pre_tokenizer: rule.pre,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rule.ignoreMerges,
      vocab: vocabulary(tokens),
      merges: merges.map((merge) => splitMerge(merge, gguf)),
    },
  };
}

/** Returns Llama 2's sentencepiece vocabulary as BPE with byte fallback, as transformers' LlamaTokenizer has it. */
function sentencePiece(gguf: GgufFile, tokens: string[], special: Record<string, string>): object {
  const scores = ggufArray(gguf, 'tokenizer.ggml.scores', 'number');
  const merges = ggufArray(gguf, 'tokenizer.ggml.merges', 'string');
  if (scores?.length !== tokens.length && merges === undefined) {
    throw new ModelError(`${gguf.file}: metadata tokenizer.ggml.scores does not give one score per token`);
  }
  const prefixSpace = ggufMeta(gguf, 'tokenizer.ggml.add_space_prefix', 'boolean') ?? true;
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  return {
    normalizer: null,
    pre_tokenizer: {
      type: 'Metaspace',
      replacement: '▁',
      prepend_scheme: prefixSpace ? 'first' : 'never',
      split: false,
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefixSpace ? [strip] : []),
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: special.unk_token ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabulary(tokens),
      merges: merges?.map((merge) => splitMerge(merge, gguf)) ?? mergesFromScores(tokens, scores!, gguf),
    },
  };
}

function vocabulary(tokens: string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

function splitMerge(merge: string, gguf: GgufFile): [string, string] {
  const parts = merge.split(' ');
  if (parts.length !== 2)
    throw new ModelError(
      `${gguf.file}: metadata tokenizer.ggml.merges: ${JSON.stringify(merge)} is not two tokens`,
    );
  return parts as [string, string];
}

/** sentencepiece's default is 16, and its longest runs of spaces have 64. */
const maxTokenLetters = 1024;

/** Returns every way to make a token of two others, best score first: transformers' `generate_merges`. */
function mergesFromScores(tokens: string[], scores: number[], gguf: GgufFile): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { pair: [string, string]; score: number; lengths: [number, number] }[] = [];
  for (const [id, token] of tokens.entries()) {
    const letters = Array.from(token);
    // Every cut of every token is tried, and copied.
    if (letters.length > maxTokenLetters)
      throw new ModelError(
        `${gguf.file}: metadata tokenizer.ggml.tokens: token ${id} has ${letters.length} characters, and at most ${maxTokenLetters} are allowed`,
      );
    const local: typeof merges = [];
    for (let cut = 1; cut < letters.length; cut++) {
      const pair: [string, string] = [letters.slice(0, cut).join(''), letters.slice(cut).join('')];
      if (!ids.has(pair[0]) || !ids.has(pair[1])) continue;
      local.push({ pair, score: scores[id]!, lengths: [cut, letters.length - cut] });
    }
    local.sort(
      (a, b) => ids.get(a.pair[0])! - ids.get(b.pair[0])! || ids.get(a.pair[1])! - ids.get(b.pair[1])!,
    );
    merges.push(...local);
  }
  merges.sort((a, b) => b.score - a.score || b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1]);
  return merges.map(({ pair }) => pair);
}

function postProcessor(bos: string | null, eos: string | null, tokens: string[]): object | null {
  if (bos === null && eos === null) return null;
  const one = (token: string | null, type: number) =>
    token === null ? [] : [{ SpecialToken: { id: token, type_id: type } }];
  const around = (name: string, type: number) => [
    ...one(bos, type),
    { Sequence: { id: name, type_id: type } },
    ...one(eos, type),
  ];
  const entry = (token: string) => [token, { id: token, ids: [tokens.indexOf(token)], tokens: [token] }];
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries([bos, eos].filter((token) => token !== null).map(entry)),
  };
}
