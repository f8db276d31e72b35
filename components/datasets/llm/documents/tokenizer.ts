/** The tokenizer that datasets need. The model's own fulfills it; a recipe brings the two together. */

export interface Message {
  role: string;
  content: unknown;
  /** Whatever else the model's template reads: `name`, `tool_calls`, `tool_call_id`, `reasoning_content` … */
  [key: string]: unknown;
}

export interface Encoding {
  ids: ArrayLike<number>;
  /** Per token the characters [start, end) of the text it came from (UTF-16); special tokens that were added have start = end. */
  offsets: readonly (readonly [start: number, end: number])[];
}

export interface Tokenizer {
  readonly vocabularySize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  /** Texts of special tokens, such as `<|im_end|>`. */
  readonly specialTokens: ReadonlySet<string>;
  readonly hasChatTemplate: boolean;
  /** `addSpecial` adds what the tokenizer's post-processor adds around a text (for many models a BOS). `offsets: false` allows them to be left empty. */
  encode(text: string, options: { addSpecial: boolean; offsets?: boolean }): Encoding;
  /** The text of tokens, special ones included. */
  decode(ids: readonly number[]): string;
  /** The model's chat template, as transformers' `apply_chat_template(tokenize=False)`. */
  applyChatTemplate(
    messages: readonly Message[],
    options: { addGenerationPrompt: boolean; tools?: readonly unknown[] | null },
  ): string;
}

/** Tells a worker thread how to build its own tokenizer: `(await import(module))[factory](argument)`. */
export interface TokenizerSource {
  /** URL or absolute path of an ES module. */
  module: string;
  /** Its exported function, which returns a Tokenizer or a promise of one. */
  factory: string;
  /** Structured-cloneable, such as the model's folder. */
  argument: unknown;
  /** sha256 over everything that decides the tokens: tokenizer files and chat template. */
  digest: string;
}

/** Builds the tokenizer in this thread. */
export async function buildTokenizer(source: TokenizerSource): Promise<Tokenizer> {
  const module = (await import(source.module)) as Record<
    string,
    (argument: unknown) => Tokenizer | Promise<Tokenizer>
  >;
  const factory = module[source.factory];
  if (typeof factory !== 'function')
    throw new TypeError(`${source.module} exports no function '${source.factory}'`);
  return factory(source.argument);
}
