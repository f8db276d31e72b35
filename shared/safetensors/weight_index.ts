/** Models cut into several safetensors files: `model.safetensors.index.json` and its weight map, as transformers writes it. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { ModelError } from '../errors.js';
import { exists } from '../files.js';
import {
  readSafetensorsHeader,
  type SafetensorsDescription,
  type SafetensorsEntry,
  safetensorsDTypeBytes,
} from './safetensors.js';

export interface LocatedTensor extends SafetensorsEntry {
  /** Absolute path of the file that holds it. */
  file: string;
}

/** transformers' default limit of one file. */
export const defaultFileBytes = 5_000_000_000;

export interface WeightFile<T extends SafetensorsDescription = SafetensorsDescription> {
  file: string;
  tensors: T[];
}

/**
 * Finds every tensor of a folder: through `<stem>.safetensors.index.json` where there is one, else in
 * `<stem>.safetensors`. Checks that index and files agree.
 * @throws ModelError
 */
export async function locateTensors(folder: string, stem = 'model'): Promise<Map<string, LocatedTensor>> {
  const indexFile = path.join(folder, `${stem}.safetensors.index.json`);
  const single = path.join(folder, `${stem}.safetensors`);
  if (await exists(indexFile)) return locateIndexed(folder, indexFile);
  if (await exists(single)) return locateIn(single);
  throw new ModelError(`${folder}: holds neither ${stem}.safetensors nor ${stem}.safetensors.index.json`);
}

async function locateIndexed(folder: string, indexFile: string): Promise<Map<string, LocatedTensor>> {
  const weightMap = parseWeightMap(await readFile(indexFile, 'utf8'), indexFile);
  const located = new Map<string, LocatedTensor>();
  for (const weightFile of new Set(weightMap.values())) {
    for (const [name, tensor] of await locateIn(path.join(folder, weightFile))) {
      const listed = weightMap.get(name);
      if (listed !== weightFile) {
        const where = listed === undefined ? 'does not list it' : `places it in ${listed}`;
        throw new ModelError(
          `${path.join(folder, weightFile)}: holds tensor ${JSON.stringify(name)}, but ${path.basename(indexFile)} ${where}`,
        );
      }
      located.set(name, tensor);
    }
  }
  const absent = [...weightMap.keys()].filter((name) => !located.has(name));
  if (absent.length > 0) {
    throw new ModelError(
      `${indexFile}: lists ${absent.length} tensors that its files lack: ${absent.slice(0, 5).join(', ')}`,
    );
  }
  return located;
}

async function locateIn(file: string): Promise<Map<string, LocatedTensor>> {
  const { tensors } = await readSafetensorsHeader(file);
  return new Map([...tensors].map(([name, entry]) => [name, { ...entry, file: path.resolve(file) }]));
}

function parseWeightMap(text: string, location: string): Map<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ModelError(`${location}: not valid JSON: ${(cause as Error).message}`, { cause });
  }
  const map =
    typeof json === 'object' && json !== null ? (json as { weight_map?: unknown }).weight_map : null;
  if (typeof map !== 'object' || map === null) throw new ModelError(`${location}: has no 'weight_map'`);
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || file !== path.basename(file) || !file.endsWith('.safetensors')) {
      throw new ModelError(
        `${location}: tensor ${JSON.stringify(name)} is listed in ${JSON.stringify(file)}, which is not a safetensors file of this folder`,
      );
    }
  }
  return new Map(Object.entries(map as Record<string, string>));
}

/** Cuts a model into files of at most `maxBytes` each, in the order given, named as transformers names them. */
export function splitWeights<T extends SafetensorsDescription>(
  tensors: readonly T[],
  maxBytes = defaultFileBytes,
  stem = 'model',
): WeightFile<T>[] {
  const groups: T[][] = [[]];
  let used = 0;
  for (const tensor of tensors) {
    const bytes = byteLength(tensor);
    if (used > 0 && used + bytes > maxBytes) {
      groups.push([]);
      used = 0;
    }
    groups.at(-1)!.push(tensor);
    used += bytes;
  }
  if (groups.length === 1) return [{ file: `${stem}.safetensors`, tensors: groups[0]! }];
  const count = String(groups.length).padStart(5, '0');
  return groups.map((group, index) => ({
    file: `${stem}-${String(index + 1).padStart(5, '0')}-of-${count}.safetensors`,
    tensors: group,
  }));
}

/** Returns the text of the index for such files. */
export function weightIndexJson(files: readonly WeightFile[]): string {
  const weightMap: Record<string, string> = {};
  let total = 0;
  for (const { file, tensors } of files) {
    for (const tensor of tensors) {
      weightMap[tensor.name] = file;
      total += byteLength(tensor);
    }
  }
  const sorted = Object.fromEntries(Object.entries(weightMap).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: sorted }, null, 2)}\n`;
}

function byteLength(tensor: SafetensorsDescription): number {
  return tensor.shape.reduce((product, size) => product * size, 1) * safetensorsDTypeBytes(tensor.dtype);
}
