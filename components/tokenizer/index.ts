/** Tokenizers and chat templates of Hugging Face folders. */
export type { ChatTemplateOptions } from './chat_template.js';
export {
  type EncodeOptions,
  type Encoding,
  loadTokenizer,
  ModelTokenizer,
  tokenizerDigest,
} from './tokenizer.js';
