/** A model's chat template, rendered as transformers' `apply_chat_template(tokenize=False)` renders it. */
import { Template } from '@huggingface/jinja';
import { ModelError } from '../../shared/errors.js';

export interface ChatTemplateOptions {
  /** Ends with what opens the assistant's turn. */
  addGenerationPrompt: boolean;
  /** JSON schemas of tools, where the template reads them. */
  tools?: readonly unknown[] | null;
}

export class ChatTemplate {
  readonly #template: Template;

  readonly #specialTokens: Readonly<Record<string, string>>;
  readonly #location: string;

  /** `specialTokens`: `bos_token`, `eos_token` … as templates name them. */
  constructor(source: string, specialTokens: Readonly<Record<string, string>>, location: string) {
    this.#specialTokens = specialTokens;
    this.#location = location;
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new ModelError(`${location}: the chat template cannot be parsed: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  render(messages: readonly object[], { addGenerationPrompt, tools = null }: ChatTemplateOptions): string {
    try {
      return this.#template.render({
        ...this.#specialTokens,
        messages,
        tools,
        documents: null,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      throw new ModelError(
        `${this.#location}: the chat template refuses these messages: ${(cause as Error).message}`,
        { cause },
      );
    }
  }
}
