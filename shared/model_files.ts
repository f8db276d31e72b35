/** JSON objects in files of models and adapters. */
import { ModelError } from './errors.js';
import { readRegularFile } from './regular_file.js';

/** tokenizer.json of the largest vocabularies has 35 MB. */
const maxBytes = 256 << 20;

/**
 * Reads a text of a model folder; null when there is no such file.
 *
 * @throws ModelError that names the file and keeps what the system says
 */
export async function readModelText(file: string): Promise<string | null> {
  try {
    return (await readRegularFile(file, maxBytes)).toString('utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new ModelError(`${file}: cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Reads a JSON object of a model folder; null when there is no such file.
 *
 * @throws ModelError that names the file
 */
export async function readModelJson(file: string): Promise<Record<string, unknown> | null> {
  const text = await readModelText(file);
  if (text === null) return null;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ModelError(`${file}: not valid JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof json === 'object' && json !== null && !Array.isArray(json))
    return json as Record<string, unknown>;
  throw new ModelError(`${file}: not a JSON object`);
}
