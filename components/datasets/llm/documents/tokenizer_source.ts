/** Builds a tokenizer in a worker thread. */
import type { Tokenizer } from '../../../../shared/text.js';

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
