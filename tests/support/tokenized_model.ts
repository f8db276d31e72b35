/** A tiny model that reads and writes text. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseGguf, tokenizerFromGguf } from '../../components/models/index.js';
import { golden } from './goldens.js';
import { type TinyModelOptions, writeTinyModel } from './tiny_model.js';

/** Writes the tiny model with SmolLM's tokenizer, cut to the entries that its golden has. */
export async function writeTokenizedModel(folder: string, options: TinyModelOptions = {}): Promise<void> {
  const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
  const { vocab } = tokenizer.model as { vocab: Record<string, number> };
  const addedTokens = tokenizer.added_tokens as { id: number }[];
  // Each id has a text, because the model may generate any of them.
  const vocabulary = Math.max(...Object.values(vocab), ...addedTokens.map(({ id }) => id)) + 1;
  await writeTinyModel(folder, { ...options, vocabulary });
  await writeFile(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeFile(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config));
}
