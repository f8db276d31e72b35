/** Tokenizers and chat templates of Hugging Face folders. */
export type { EncodeOptions } from '../../shared/text.js';
export type { ChatTemplateOptions } from './chat_template.js';
export {
  loadTokenizer,
  type ModelEncoding,
  ModelTokenizer,
  tokenizerDigest,
} from './tokenizer.js';
