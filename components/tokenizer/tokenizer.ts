/** A model's tokenizer, from the `tokenizer.json` and `tokenizer_config.json` of its folder. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { Tokenizer as Library } from '@huggingface/tokenizers';
import { ModelError, TemperError } from '../../shared/errors.js';
import { readModelJson, readModelText } from '../../shared/model_files.js';
import type { EncodeOptions, Tokenizer } from '../../shared/text.js';
import { ChatTemplate, type ChatTemplateOptions } from './chat_template.js';
import { checkTokenIds } from './check_ids.js';
import { checkPatterns } from './check_patterns.js';
import { compatiblePreTokenizer, correctByteFallback, type PreTokenizer } from './compatible.js';
import { type AddedTokenRule, alignTokens, type Offset, type OffsetScheme } from './offsets.js';

export interface ModelEncoding {
  ids: number[];
  /** Per token the characters [start, end) it came from, in UTF-16 units; added special tokens have start = end. */
  offsets: Offset[];
}

/** tokenizer.json and tokenizer_config.json, parsed; `chatTemplate` when it is in a file of its own. */
export interface TokenizerFiles {
  tokenizer: Record<string, unknown>;
  config: Record<string, unknown>;
  chatTemplate: string | null;
}

export class ModelTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  readonly unkId: number | null;
  readonly specialTokens: ReadonlySet<string>;
  readonly hasChatTemplate: boolean;
  /** sha256 over everything that decides tokens and template. */
  readonly digest: string;

  readonly #library: Library;
  readonly #scheme: OffsetScheme;
  readonly #prefix: number[];
  readonly #suffix: number[];
  readonly #chatTemplate: ChatTemplate | null;
  readonly #cleanUp: boolean;

  readonly #location: string;

  /** `location` names the folder in errors. */
  constructor(files: TokenizerFiles, location: string) {
    this.#location = location;
    const { tokenizer, config } = files;
    checkTokenIds(tokenizer, location);
    checkPatterns(tokenizer, location);
    this.#library = buildLibrary(tokenizer, config, location);
    this.#scheme = offsetScheme(tokenizer, this.#library);
    this.vocabularySize = this.#library.get_vocab().size;
    const added = [...this.#library.get_added_tokens_decoder().values()];
    this.specialTokens = new Set(added.filter((token) => token.special).map((token) => token.content));
    this.bosId = this.#idOf(config, 'bos_token');
    this.eosId = this.#idOf(config, 'eos_token');
    this.padId = this.#idOf(config, 'pad_token');
    this.unkId = this.#idOf(config, 'unk_token');
    [this.#prefix, this.#suffix] = this.#surroundings();
    const template = files.chatTemplate ?? defaultTemplate(config.chat_template);
    this.#chatTemplate =
      template === null ? null : new ChatTemplate(template, specialTokenTexts(config), location);
    this.hasChatTemplate = this.#chatTemplate !== null;
    this.#cleanUp = config.clean_up_tokenization_spaces === true && !this.#scheme.byteLevel;
    this.digest = digestOfFiles(files);
  }

  /**
   * Reads a model folder.
   * @throws ModelError when it has no tokenizer.json
   */
  static async load(folder: string): Promise<ModelTokenizer> {
    return new ModelTokenizer(await readFiles(folder), folder);
  }

  /** Returns the tokens of a text. Unpaired surrogates become U+FFFD. */
  encode(text: string, options: EncodeOptions): ModelEncoding {
    const wellFormed = text.replace(/\p{Surrogate}/gu, '\ufffd');
    const encoded = this.#encodeBare(wellFormed, false);
    const ids: number[] = encoded.ids;
    const offsets = options.offsets === false ? [] : alignTokens(wellFormed, encoded.tokens, this.#scheme);
    if (!options.addSpecial) return { ids, offsets };
    const repeat = (position: number, count: number): Offset[] =>
      Array.from({ length: count }, () => [position, position]);
    return {
      ids: [...this.#prefix, ...ids, ...this.#suffix],
      offsets:
        options.offsets === false
          ? []
          : [...repeat(0, this.#prefix.length), ...offsets, ...repeat(text.length, this.#suffix.length)],
    };
  }

  /**
   * Returns the text of tokens. Ids without a text have none, as in the Rust tokenizer: models whose embeddings are
   * padded may give them.
   */
  decode(ids: readonly number[], { skipSpecial = false }: { skipSpecial?: boolean } = {}): string {
    const knownIds = ids.filter((id) => this.#library.id_to_token(id) !== undefined);
    if (knownIds.length === 0) return '';
    return this.#library.decode(knownIds, {
      skip_special_tokens: skipSpecial,
      clean_up_tokenization_spaces: this.#cleanUp,
    });
  }

  tokenToId(token: string): number | null {
    return this.#library.token_to_id(token) ?? null;
  }

  /** @throws ModelError when the model has no chat template, or the template refuses the messages */
  applyChatTemplate(messages: readonly object[], options: ChatTemplateOptions): string {
    if (this.#chatTemplate === null)
      throw new ModelError(`${this.#location}: this model has no chat template`);
    return this.#chatTemplate.render(messages, options);
  }

  /** Encodes with the library, which trusts tokenizer.json: its faults show only when a text is encoded. */
  #encodeBare(text: string, addSpecial: boolean): { ids: number[]; tokens: string[] } {
    try {
      return this.#library.encode(text, { add_special_tokens: addSpecial });
    } catch (cause) {
      throw unusable(this.#location, cause);
    }
  }

  #idOf(config: Record<string, unknown>, key: string): number | null {
    const text = tokenText(config[key]);
    return text === null ? null : this.tokenToId(text);
  }

  /** Returns the ids that the post-processor puts before and after any text. */
  #surroundings(): [prefix: number[], suffix: number[]] {
    const bare: number[] = this.#encodeBare('a', false).ids;
    const full: number[] = this.#encodeBare('a', true).ids;
    for (let start = 0; start + bare.length <= full.length; start++) {
      if (bare.every((id, i) => full[start + i] === id))
        return [full.slice(0, start), full.slice(start + bare.length)];
    }
    throw new ModelError(
      `${this.#location}: the tokenizer's post-processor rewrites tokens, which is not supported`,
    );
  }
}

/** Loads the tokenizer of a folder. Worker threads call it by name. */
export function loadTokenizer(folder: string): Promise<ModelTokenizer> {
  return ModelTokenizer.load(folder);
}

/**
 * Returns the digest of a folder's tokenizer, without the time that building it takes.
 * @throws ModelError as loading does
 */
export async function tokenizerDigest(folder: string): Promise<string> {
  return digestOfFiles(await readFiles(folder));
}

function digestOfFiles({ tokenizer, config, chatTemplate }: TokenizerFiles): string {
  const template = chatTemplate ?? defaultTemplate(config.chat_template);
  return createHash('sha256')
    .update(JSON.stringify([tokenizer, config, template]))
    .digest('hex');
}

async function readFiles(folder: string): Promise<TokenizerFiles> {
  const tokenizer = await readModelJson(path.join(folder, 'tokenizer.json'));
  if (tokenizer === null) {
    throw new ModelError(
      `${folder}: has no tokenizer.json; save the tokenizer with a current transformers (save_pretrained)`,
    );
  }
  const config = (await readModelJson(path.join(folder, 'tokenizer_config.json'))) ?? {};
  const chatTemplate = await readModelText(path.join(folder, 'chat_template.jinja'));
  return { tokenizer, config, chatTemplate };
}

function buildLibrary(
  tokenizer: Record<string, unknown>,
  config: Record<string, unknown>,
  location: string,
): Library {
  const preTokenizer = tokenizer.pre_tokenizer as PreTokenizer | null;
  try {
    const compatible = preTokenizer == null ? null : compatiblePreTokenizer(preTokenizer);
    const complete = {
      added_tokens: [],
      normalizer: null,
      post_processor: null,
      decoder: null,
      ...tokenizer,
      pre_tokenizer: compatible,
    };
    // Of the config the library honors keys that change the text before it is tokenized, as no fast tokenizer does.
    const library = new Library(complete, {
      additional_special_tokens: config.additional_special_tokens ?? [],
    });
    correctByteFallback(library.decoder);
    return library;
  } catch (cause) {
    throw unusable(location, cause);
  }
}

function unusable(location: string, cause: unknown): Error {
  if (cause instanceof TemperError) return cause;
  return new ModelError(
    `${location}: its tokenizer.json cannot be used: ${(cause as Error).message}; save the tokenizer again (save_pretrained)`,
    { cause },
  );
}

function offsetScheme(tokenizer: Record<string, unknown>, library: Library): OffsetScheme {
  const text = JSON.stringify([tokenizer.pre_tokenizer, tokenizer.decoder]);
  const normalizer = tokenizer.normalizer as { type?: string } | null | undefined;
  const spacing = JSON.stringify([tokenizer.pre_tokenizer, normalizer]);
  const added = new Map<string, AddedTokenRule>();
  for (const token of library.get_added_tokens_decoder().values()) {
    added.set(token.content, { lstrip: token.lstrip, rstrip: token.rstrip });
  }
  const normalize = library.normalizer;
  return {
    byteLevel: text.includes('"ByteLevel"'),
    prefixSpace: /"add_prefix_space":true|"Prepend"|"Metaspace"/.test(spacing),
    added,
    // ▁ for a space, and one before the text, are distinguished by the walk itself.
    normalize: normalize === null || onlySpaces(normalizer) ? null : (text) => normalize(text),
  };
}

/** Returns whether a normalizer only prepends ▁ and writes it for spaces, as Llama 2's does. */
function onlySpaces(normalizer: unknown): boolean {
  const config = normalizer as { type?: string; normalizers?: unknown[] } | null | undefined;
  if (config == null) return true;
  if (config.type === 'Sequence')
    return Array.isArray(config.normalizers) && config.normalizers.every(onlySpaces);
  return (
    config.type === 'Prepend' ||
    (config.type === 'Replace' && JSON.stringify(config).includes('"content":"▁"'))
  );
}

/** Returns the chat template: `chat_template` is a text, or a list of named ones of which `default` counts. */
function defaultTemplate(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return null;
  const named = value as { name?: unknown; template?: unknown }[];
  const chosen = named.find((entry) => entry.name === 'default');
  return typeof chosen?.template === 'string' ? chosen.template : null;
}

/** Returns the text of a special token in tokenizer_config.json: a text, or an object with its `content`. */
function tokenText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : null;
}

function specialTokenTexts(config: Record<string, unknown>): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const key of Object.keys(config)) {
    const text = key.endsWith('_token') ? tokenText(config[key]) : null;
    if (text !== null) texts[key] = text;
  }
  return texts;
}
