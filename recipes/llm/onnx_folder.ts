/**
 * Models as ONNX folders: what ONNX Runtime, onnxruntime-genai and transformers.js load.
 *
 *     config.json, generation_config.json, tokenizer files     as the model has them
 *     genai_config.json                                        for onnxruntime-genai
 *     onnx/model.onnx, onnx/model_fp16.onnx                    graph, and the weights while they are small
 *     onnx/model.onnx_data, onnx/model_fp16.onnx_data          the weights otherwise
 *
 * Nothing is held in memory but a chunk of one tensor.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { genaiConfig, locateWeights, type Model, openModel } from '../../components/models/index.js';
import { readAdapter } from '../../components/peft/index.js';
import {
  type DType,
  type ExternalPlace,
  encodeOnnx,
  isLiteral,
  type LoraOptions,
  lowerToOnnx,
  type OnnxModel,
  type OnnxTensor,
  pieceBytes,
  tensorBytes,
} from '../../graph/index.js';
import { ModelError } from '../../shared/errors.js';
import type { SafetensorsSource } from '../../shared/safetensors.js';
import { folderSources } from './folder_weights.js';
import { type TensorReader, tensorReader } from './onnx_tensors.js';

export type OnnxPrecision = 'fp32' | 'fp16';

export interface OnnxExport {
  model: Model;
  /** Every weight of the model, in whatever dtype. */
  tensors: readonly SafetensorsSource[];
  /** Of weights, activations and cache; logits are float32 in both. */
  precision: OnnxPrecision;
  /** An adapter whose A and B are to be inputs of the model, by parameter name; null (as left out) for none. */
  adapterInputs?: LoraOptions | null;
  /** Weights beyond these bytes go into a file of their own; protobuf ends at 2 GiB. */
  inlineBytes?: number;
}

/** A file to write: its name within `onnx/`, its length, and its bytes as often as they are wanted. */
export interface OnnxFile {
  name: string;
  bytes: number;
  content(): AsyncGenerator<Uint8Array>;
}

/** Rows of the RoPE tables at most; a model of a longer context is exported for this one. */
const longestContext = 131_072;

/**
 * ONNX Runtime maps a file of weights, but parses a model and copies what is in it: SmolLM2-135M in float32 opens in half
 * the time (1.3 s for 2.7 s) and with 160 MB less at the peak when its weights lie apart. Small models stay one file.
 */
const defaultInlineBytes = 2 ** 27;

/** Tensors of this many bytes and more may lie outside; their offsets are multiples of a page, so that they can be mapped. */
const externalBytes = 1024;
const page = 4096;

export const onnxContext = (model: Model): number => Math.min(model.maxPositions, longestContext);

export const onnxStem = (precision: OnnxPrecision): string => (precision === 'fp32' ? 'model' : 'model_fp16');

/** The files of a model, weights first: with its last file in place a model is complete. */
export function onnxFiles(options: OnnxExport): OnnxFile[] {
  const { model, tensors, precision } = options;
  const positions = onnxContext(model);
  const dtypes = new Map(tensors.map(({ name }) => [name, 'f32' as DType]));
  const onnx = lowerToOnnx(model.forward({ tokens: 1, positions, dtypes }), {
    float: precision === 'fp32' ? 'f32' : 'f16',
    adapter: options.adapterInputs ?? null,
  });
  const read = tensorReader(model, positions, tensors);
  const name = `${onnxStem(precision)}.onnx`;
  const { places, bytes } = placeOutside(onnx, `${name}_data`, options.inlineBytes ?? defaultInlineBytes);
  const pieces = encodeOnnx(onnx, 'temper', (tensor) => places.get(tensor) ?? null);
  const file: OnnxFile = {
    name,
    bytes: pieces.reduce((sum, piece) => sum + pieceBytes(piece), 0),
    async *content() {
      for (const piece of pieces) {
        if (piece instanceof Uint8Array) yield piece;
        else yield* exactly(piece, read);
      }
    },
  };
  if (places.size === 0) return [file];
  return [{ name: `${name}_data`, bytes, content: () => externalData(places, read) }, file];
}

/** Places of the larger tensors in the file `location`; none where all of them fit into the model. */
function placeOutside(
  onnx: OnnxModel,
  location: string,
  inlineBytes: number,
): { places: Map<OnnxTensor, ExternalPlace>; bytes: number } {
  const tensors = onnx.initializers.filter((tensor): tensor is OnnxTensor => !isLiteral(tensor));
  const places = new Map<OnnxTensor, ExternalPlace>();
  const total = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  let bytes = 0;
  if (total <= inlineBytes) return { places, bytes };
  for (const tensor of tensors) {
    const length = tensorBytes(tensor);
    if (length < externalBytes) continue;
    const offset = Math.ceil(bytes / page) * page;
    places.set(tensor, { location, offset, length });
    bytes = offset + length;
  }
  return { places, bytes };
}

async function* externalData(
  places: ReadonlyMap<OnnxTensor, ExternalPlace>,
  read: TensorReader,
): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const [tensor, { offset, length }] of places) {
    if (offset > at) yield new Uint8Array(offset - at);
    yield* exactly(tensor, read);
    at = offset + length;
  }
}

/** A tensor's bytes, as many as its shape says. */
async function* exactly(tensor: OnnxTensor, read: TensorReader): AsyncGenerator<Uint8Array> {
  const expected = tensorBytes(tensor);
  let bytes = 0;
  for await (const chunk of read(tensor)) {
    bytes += chunk.length;
    if (bytes > expected) break;
    yield chunk;
  }
  if (bytes !== expected) {
    const found = bytes > expected ? 'more' : String(bytes);
    throw new ModelError(`tensor '${tensor.source}' takes ${expected} bytes, but its source gave ${found}`);
  }
}

export interface WrittenOnnx {
  /** Path of the model. */
  model: string;
  /** Path of its weights where they lie in a file of their own. */
  data: string | null;
  bytes: number;
}

/** Writes `<folder>/onnx/model[_fp16].onnx`, each file at once and the model last. */
export async function writeOnnx(
  options: OnnxExport & { folder: string; progress?: (bytes: number, of: number) => void },
): Promise<WrittenOnnx> {
  const folder = path.join(options.folder, 'onnx');
  await mkdir(folder, { recursive: true });
  const files = onnxFiles(options);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  let done = 0;
  for (const file of files) {
    await writeAtOnce(path.join(folder, file.name), file.content(), (written) => {
      done += written;
      options.progress?.(done, bytes);
    });
  }
  const [model, data] = files.toReversed().map(({ name }) => path.join(folder, name));
  return { model: model!, data: data ?? null, bytes };
}

async function writeAtOnce(
  file: string,
  content: AsyncIterable<Uint8Array>,
  written: (bytes: number) => void,
): Promise<void> {
  const partial = `${file}.${randomUUID()}.partial`;
  const handle = await open(partial, 'w');
  try {
    for await (const chunk of content) {
      await handle.writeFile(chunk);
      written(chunk.length);
    }
    await handle.sync();
    await handle.close();
    await rename(partial, file);
  } catch (error) {
    await handle.close().catch(() => undefined);
    await rm(partial, { force: true });
    throw error;
  }
}

/** What a folder holds beside its weights. */
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
 * config.json as transformers.js wants it: it has to be told of files of weights. What it is told of other models of the
 * same folder stays.
 */
export function onnxConfigJson(config: Record<string, unknown>, files: readonly OnnxFile[]): string {
  const names = new Set(files.map(({ name }) => name));
  const known = config['transformers.js_config'] as Record<string, unknown> | undefined;
  const external: Record<string, unknown> = { ...(known?.use_external_data_format as object | undefined) };
  for (const name of names) {
    if (names.has(`${name}_data`)) external[name] = 1;
    else delete external[name];
  }
  const options = { ...known, use_external_data_format: external };
  if (Object.keys(external).length === 0) return `${JSON.stringify(config, null, 2)}\n`;
  return `${JSON.stringify({ ...config, 'transformers.js_config': options }, null, 2)}\n`;
}

/** The text of genai_config.json, with which onnxruntime-genai opens the folder. */
export function genaiConfigJson(model: Model, precision: OnnxPrecision): string {
  const file = `onnx/${onnxStem(precision)}.onnx`;
  return `${JSON.stringify(genaiConfig(model, { file, contextLength: onnxContext(model) }), null, 2)}\n`;
}

/**
 * Exports a model folder, with an adapter folder merged in (in float32, rounded once to the precision) where one is named.
 * `onnx/model[_fp16].onnx` is written last: a folder that holds it is complete. Throws ModelError where model or adapter do
 * not fit.
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
  const config = { ...(await readConfig(modelFolder)), ...(await otherModels(target)) };
  await writeFile(path.join(target, 'config.json'), onnxConfigJson(config, onnxFiles(options)));
  await writeFile(path.join(target, 'genai_config.json'), genaiConfigJson(model, precision));
  for (const name of companions) {
    const from = path.join(modelFolder, name);
    if (existsSync(from) && path.resolve(target) !== path.resolve(modelFolder))
      await copyFile(from, path.join(target, name));
  }
  return writeOnnx({ ...options, folder: target, ...(progress === undefined ? {} : { progress }) });
}

async function readConfig(folder: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(path.join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
}

/** What an earlier export into the same folder told transformers.js. */
async function otherModels(target: string): Promise<Record<string, unknown>> {
  if (!existsSync(path.join(target, 'config.json'))) return {};
  const known = (await readConfig(target))['transformers.js_config'];
  return known === undefined ? {} : { 'transformers.js_config': known };
}
