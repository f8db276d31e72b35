/** What components that read text have in common: a tokenizer, and messages and prompts for it. */

export interface Message {
  role: string;
  content: unknown;
  /** Whatever else the model's template reads: `name`, `tool_calls`, `tool_call_id`, `reasoning_content` … */
  [key: string]: unknown;
}

/** A message of nothing but text. */
export interface ChatMessage {
  role: string;
  content: string;
}

/** A text to continue, or a conversation to answer in the model's own chat template. */
export type Prompt = string | readonly ChatMessage[];

export interface AnswerOptions {
  maxNewTokens: number;
  /** An answer ends before the first of these. */
  stop?: readonly string[];
  /** 0, the default, is greedy. */
  temperature?: number;
  /** 0 or left out: all tokens. */
  topK?: number;
  /** 1 or left out: all tokens. */
  topP?: number;
  repetitionPenalty?: number;
  /** Random seed; draws depend only on it and on a prompt's number, not on how prompts are batched. */
  seed?: number;
  /** Number of the first prompt, where a long list is answered in parts. */
  firstPrompt?: number;
}

export interface Encoding {
  ids: ArrayLike<number>;
  /**
   * Per token the characters [start, end) of the text it came from (UTF-16); special tokens that were added have start
   * = end.
   */
  offsets: readonly (readonly [start: number, end: number])[];
}

export interface EncodeOptions {
  /** Adds what the tokenizer's post-processor adds around a text, for many models a BOS. */
  addSpecial: boolean;
  /** False allows `offsets` to be left empty, which is a little faster. */
  offsets?: boolean;
}

/** A tokenizer as datasets need it; the model's own fulfills it. */
export interface Tokenizer {
  readonly vocabularySize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  /** Texts of special tokens, such as `<|im_end|>`. */
  readonly specialTokens: ReadonlySet<string>;
  readonly hasChatTemplate: boolean;
  encode(text: string, options: EncodeOptions): Encoding;
  /** Returns the text of tokens, special ones included. */
  decode(ids: readonly number[]): string;
  /** Renders the model's chat template, as transformers' `apply_chat_template(tokenize=False)`. */
  applyChatTemplate(
    messages: readonly Message[],
    options: { addGenerationPrompt: boolean; tools?: readonly unknown[] | null },
  ): string;
}
