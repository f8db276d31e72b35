/**
 * Models as ONNX folders: what ONNX Runtime, onnxruntime-genai and transformers.js load.
 *
 *     config.json, generation_config.json, tokenizer files     as the model has them
 *     genai_config.json                                        for onnxruntime-genai
 *     onnx/model.onnx, onnx/model_fp16.onnx                    graph, and the weights while they are small
 *     onnx/model.onnx_data, onnx/model_fp16.onnx_data          the weights otherwise
 */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { genaiConfig, locateWeights, type Model, openModel } from '../../../components/models/index.js';
import { readAdapter } from '../../../components/peft/index.js';
import { ModelError } from '../../../shared/errors.js';
import { writeAtomically } from '../../../shared/files.js';
import { folderSources } from './folder_weights.js';
import {
  type OnnxExport,
  type OnnxFile,
  type OnnxPrecision,
  onnxContext,
  onnxFiles,
  onnxStem,
} from './onnx_files.js';

export interface WrittenOnnx {
  /** Path of the model. */
  model: string;
  /** Path of its weights where they lie in a file of their own. */
  data: string | null;
  bytes: number;
}

/**
 * Writes `<folder>/onnx/model[_fp16].onnx`, each file at once and the model last; it is never next to another model's
 * weights.
 */
export async function writeOnnx(
  options: OnnxExport & { folder: string; progress?: (bytes: number, of: number) => void },
): Promise<WrittenOnnx> {
  const folder = path.join(options.folder, 'onnx');
  await mkdir(folder, { recursive: true });
  const files = onnxFiles(options);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  let done = 0;
  const [model, data] = files.toReversed().map(({ name }) => path.join(folder, name));
  for (const stale of [model!, `${model}_data`]) await rm(stale, { force: true });
  for (const file of files) {
    const content = reported(file.content(), (bytesWritten) => {
      done += bytesWritten;
      options.progress?.(done, bytes);
    });
    await writeAtomically(path.join(folder, file.name), content);
  }
  return { model: model!, data: data ?? null, bytes };
}

async function* reported(
  content: AsyncIterable<Uint8Array>,
  onProgress: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    yield chunk;
    onProgress(chunk.length);
  }
}

/** Files of a folder in addition to its weights. */
const companions = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
];

/**
 * Returns config.json as transformers.js reads it: it lists files of weights. What it lists of other
 * models of the same folder stays.
 */
export function onnxConfigJson(config: Record<string, unknown>, files: readonly OnnxFile[]): string {
  const names = new Set(files.map(({ name }) => name));
  const existing = config['transformers.js_config'] as Record<string, unknown> | undefined;
  const external: Record<string, unknown> = { ...(existing?.use_external_data_format as object | undefined) };
  for (const name of names) {
    if (names.has(`${name}_data`)) external[name] = 1;
    else delete external[name];
  }
  const options = { ...existing, use_external_data_format: external };
  const isConfigured = existing !== undefined || Object.keys(external).length > 0;
  return `${JSON.stringify(isConfigured ? { ...config, 'transformers.js_config': options } : config, null, 2)}\n`;
}

/**
 * Returns the text of genai_config.json, with which onnxruntime-genai opens the folder; `generation` as GenaiOptions
 * has it.
 */
export function genaiConfigJson(
  model: Model,
  precision: OnnxPrecision,
  generation: Readonly<Record<string, unknown>>,
): string {
  const file = `onnx/${onnxStem(precision)}.onnx`;
  const config = genaiConfig(model, { file, contextLength: onnxContext(model), generation });
  return `${JSON.stringify(config, null, 2)}\n`;
}

/**
 * Exports a model folder, with an adapter folder merged in (in float32, rounded once to the precision) where one is
 * named. `onnx/model[_fp16].onnx` is written last: a folder that holds it is complete.
 * @throws ModelError where model or adapter do not fit
 *
 * @example
 * await exportModelFolder('SmolLM2-135M-Instruct', null, 'fp32', 'exported');
 */
export async function exportModelFolder(
  modelFolder: string,
  adapterFolder: string | null,
  precision: OnnxPrecision,
  target: string,
  progress?: (bytes: number, of: number) => void,
): Promise<WrittenOnnx> {
  const model = await openModel(modelFolder);
  const weights = await locateWeights(modelFolder, model);
  const adapter = adapterFolder === null ? null : await readAdapter(adapterFolder, model.linearModules);
  const options: OnnxExport = { model, tensors: folderSources(weights, adapter), precision };
  await mkdir(target, { recursive: true });
  const config = { ...(await readJson(modelFolder, 'config.json')), ...(await otherModels(target)) };
  await writeFile(path.join(target, 'config.json'), onnxConfigJson(config, onnxFiles(options)));
  const generation = await readJson(modelFolder, 'generation_config.json');
  await writeFile(path.join(target, 'genai_config.json'), genaiConfigJson(model, precision, generation));
  for (const name of companions) {
    const from = path.join(modelFolder, name);
    if (existsSync(from) && path.resolve(target) !== path.resolve(modelFolder))
      await copyFile(from, path.join(target, name));
  }
  return writeOnnx({ ...options, folder: target, ...(progress === undefined ? {} : { progress }) });
}

/** Reads a file of JSON; {} when there is none. */
async function readJson(folder: string, name: string): Promise<Record<string, unknown>> {
  const file = path.join(folder, name);
  if (!existsSync(file)) return {};
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new ModelError(`${file}: not valid JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Returns the transformers.js options of an earlier export into the same folder. */
async function otherModels(target: string): Promise<Record<string, unknown>> {
  const existing = (await readJson(target, 'config.json'))['transformers.js_config'];
  return existing === undefined ? {} : { 'transformers.js_config': existing };
}
