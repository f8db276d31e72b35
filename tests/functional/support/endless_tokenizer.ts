/** A tokenizer that never returns, as with a chat template that loops. */
import type { Tokenizer } from '../../../components/datasets/llm/index.js';

export function endlessTokenizer(): Partial<Tokenizer> {
  return {
    vocabularySize: 10,
    bosId: null,
    eosId: null,
    specialTokens: new Set(),
    hasChatTemplate: false,
    encode() {
      for (;;);
    },
  };
}
