/** A small Llama with random weights that has a tokenizer: it answers, but nothing that makes sense. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseGguf, tokenizerFromGguf } from '../../components/models/index.js';
import { golden } from './goldens.js';
import { writeTinyModel } from './tiny_model.js';

/** Messages as `role: content` lines. */
const template =
  "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

/** Writes a whole model folder. The context is of 2048 tokens, and no token ends an answer early. */
export async function writeTinyTextModel(folder: string, { chat = true } = {}): Promise<void> {
  const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
  const vocabulary = Object.keys((tokenizer.model as { vocab: object }).vocab).length;
  await writeTinyModel(folder, { vocabulary, seed: 3 });
  await writeFile(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  const { chat_template: _none, ...rest } = config as Record<string, unknown>;
  const tokenizerConfig = chat ? { ...rest, chat_template: template } : rest;
  await writeFile(path.join(folder, 'tokenizer_config.json'), JSON.stringify(tokenizerConfig));
  await writeFile(path.join(folder, 'generation_config.json'), '{"eos_token_id": []}');
}
