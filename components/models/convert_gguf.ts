/** Turns a GGUF file into a Hugging Face model folder: weights dequantized natively, config and tokenizer rebuilt. */
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { dequantize } from '../../engine/index.js';
import { ModelError } from '../../shared/errors.js';
import { partialName, publishFolder, removeAbandoned } from '../../shared/files.js';
import { layoutSafetensors, type SafetensorsDType } from '../../shared/safetensors/safetensors.js';
import { splitWeights, type WeightFile, weightIndexJson } from '../../shared/safetensors/weight_index.js';
import type { Model } from './blocks/family.js';
import { type GgufFile, type GgufTensor, ggmlTypes, ggufMeta, parseGguf } from './gguf/parse.js';
import { tokenizerFromGguf } from './gguf/tokenizer.js';
import { familyOfGguf } from './registry.js';

/** Part of the cache key: another version converts again. */
export const converterVersion = 1;

/** Types that quantized tensors may become. Their values need more than bf16's 8 bits: f32 is exact, bf16 half as large. */
export type DequantizedDType = 'bf16' | 'f32';

export interface ConvertOptions {
  dtype: DequantizedDType;
  onProgress?: (doneBytes: number, totalBytes: number) => void;
  signal?: AbortSignal;
}

interface Conversion {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
  source: GgufTensor;
  permutedHeads: number | null;
}

/**
 * Writes the folder `target`, which appears all at once or not at all. Float tensors keep their type; quantized ones
 * become `dtype`.
 * @throws ModelError naming the file and every tensor that is missing, unexpected or of a wrong shape
 */
export async function convertGguf(file: string, target: string, options: ConvertOptions): Promise<void> {
  const gguf = parseGguf(file);
  const family = familyOfGguf(ggufMeta(gguf, 'general.architecture', 'string') ?? '', file);
  const config = await family.configFromGguf(gguf);
  const model = family.model(config, file);
  const conversions = planConversions(gguf, model, options.dtype);
  const { tokenizer, config: tokenizerConfig } = tokenizerFromGguf(gguf);
  const embedding = conversions.find(({ name }) => name === model.tensors[0]!.name)!;

  await removeAbandoned(path.dirname(target));
  const partial = partialName(target);
  await mkdir(partial, { recursive: true });
  try {
    await writeWeights(gguf, conversions, partial, options);
    await writeJson(partial, 'config.json', {
      ...config,
      dtype: torchName(embedding.dtype),
      torch_dtype: torchName(embedding.dtype),
    });
    await writeJson(partial, 'generation_config.json', generationConfig(model));
    await writeJson(partial, 'tokenizer.json', tokenizer);
    await writeJson(partial, 'tokenizer_config.json', tokenizerConfig);
    await publishFolder(partial, target);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

function planConversions(gguf: GgufFile, model: Model, dtype: DequantizedDType): Conversion[] {
  const byName = new Map<string, Conversion>();
  const problems: string[] = [];
  for (const source of gguf.tensors.values()) {
    const rule = model.ggufTensor(source.name);
    if (rule === null) problems.push(`unexpected: ${source.name}`);
    else if (rule.name !== null) {
      const { name, permutedHeads } = rule;
      byName.set(name, {
        name,
        dtype: outputType(source.type, dtype),
        shape: source.shape,
        source,
        permutedHeads,
      });
    }
  }
  const conversions: Conversion[] = [];
  for (const { name, shape } of model.tensors) {
    const conversion = byName.get(name);
    if (conversion === undefined) problems.push(`missing: the tensor that becomes ${name}`);
    else if (conversion.shape.join() !== shape.join()) {
      problems.push(
        `${conversion.source.name}: shape [${conversion.shape}], but the metadata make it [${shape}]`,
      );
    } else conversions.push(conversion);
  }
  if (problems.length > 0) {
    const lines = problems.slice(0, 12).map((line) => `  ${line}`);
    throw new ModelError(
      `${gguf.file}: its tensors do not fit its metadata (${problems.length} problems)\n${lines.join('\n')}`,
    );
  }
  return conversions;
}

const f32Type = 0;
const f16Type = 1;
const bf16Type = 30;

function outputType(type: number, quantized: DequantizedDType): SafetensorsDType {
  if (type === f32Type) return 'F32';
  if (type === f16Type) return 'F16';
  if (type === bf16Type) return 'BF16';
  return quantized === 'f32' ? 'F32' : 'BF16';
}

async function writeWeights(
  gguf: GgufFile,
  conversions: Conversion[],
  folder: string,
  options: ConvertOptions,
): Promise<void> {
  const weightFiles: WeightFile<Conversion>[] = splitWeights(conversions);
  const total = conversions.reduce((sum, { source }) => sum + source.byteLength, 0);
  let done = 0;
  for (const weightFile of weightFiles) {
    const output = path.join(folder, weightFile.file);
    const layout = layoutSafetensors(weightFile.tensors);
    const handle = await open(output, 'wx+');
    try {
      await writeFully(handle, layout.header, 0);
      await handle.truncate(layout.fileBytes);
      for (const { tensor, byteOffset, byteLength } of layout.tensors) {
        options.signal?.throwIfAborted();
        await writeTensor(gguf, tensor, { path: output, handle }, byteOffset, byteLength);
        if (tensor.permutedHeads !== null)
          await unpermute(handle, byteOffset, byteLength, tensor.shape, tensor.permutedHeads);
        done += tensor.source.byteLength;
        options.onProgress?.(done, total);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  if (weightFiles.length > 1)
    await writeFile(path.join(folder, 'model.safetensors.index.json'), weightIndexJson(weightFiles));
}

async function writeTensor(
  gguf: GgufFile,
  tensor: Conversion,
  output: { path: string; handle: Handle },
  byteOffset: number,
  byteLength: number,
): Promise<void> {
  const { source, dtype } = tensor;
  if (ggmlTypes.get(source.type)!.name === dtype) {
    await copyRange(gguf.file, source.byteOffset, output.handle, byteOffset, byteLength);
    return;
  }
  await dequantize({
    file: gguf.file,
    byteOffset: source.byteOffset,
    type: source.type,
    elements: source.elements,
    output: output.path,
    outputOffset: byteOffset,
    dtype: dtype === 'F32' ? 'f32' : 'bf16',
  });
}

type Handle = Awaited<ReturnType<typeof open>>;

async function copyRange(
  from: string,
  fromOffset: number,
  target: Handle,
  toOffset: number,
  byteLength: number,
): Promise<void> {
  const source = await open(from, 'r');
  try {
    const buffer = Buffer.alloc(Math.min(byteLength, 1 << 24));
    for (let done = 0; done < byteLength; ) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, byteLength - done));
      await readFully(source, chunk, fromOffset + done, from);
      await writeFully(target, chunk, toOffset + done);
      done += chunk.length;
    }
  } finally {
    await source.close();
  }
}

/**
 * Puts the rows of a q or k projection (or its bias) back in place, head by head: row 2j + s of a head in the file is
 * row s·K/2 + j of transformers.
 */
async function unpermute(
  handle: Handle,
  byteOffset: number,
  byteLength: number,
  shape: number[],
  heads: number,
): Promise<void> {
  const headBytes = byteLength / heads;
  const headDim = shape[0]! / heads;
  const rowBytes = headBytes / headDim;
  const interleaved = Buffer.alloc(headBytes);
  const restored = Buffer.alloc(headBytes);
  for (let head = 0; head < heads; head++) {
    const headOffset = byteOffset + head * headBytes;
    await readFully(handle, interleaved, headOffset, 'the converted weights');
    for (let row = 0; row < headDim; row++) {
      const original = (row % 2) * (headDim / 2) + Math.floor(row / 2);
      interleaved.copy(restored, original * rowBytes, row * rowBytes, (row + 1) * rowBytes);
    }
    await writeFully(handle, restored, headOffset);
  }
}

async function readFully(handle: Handle, buffer: Buffer, position: number, location: string): Promise<void> {
  for (let done = 0; done < buffer.length; ) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0)
      throw new ModelError(
        `${location}: became shorter while it was read; start again once nothing writes to it`,
      );
    done += bytesRead;
  }
}

async function writeFully(handle: Handle, buffer: Buffer, position: number): Promise<void> {
  for (let done = 0; done < buffer.length; ) {
    done += (await handle.write(buffer, done, buffer.length - done, position + done)).bytesWritten;
  }
}

function torchName(dtype: SafetensorsDType): string {
  const names: Partial<Record<SafetensorsDType, string>> = {
    F32: 'float32',
    F16: 'float16',
    BF16: 'bfloat16',
  };
  return names[dtype]!;
}

function generationConfig(model: Model): Record<string, unknown> {
  const config: Record<string, unknown> = { _from_model_config: true };
  if (model.bosTokenId !== null) config.bos_token_id = model.bosTokenId;
  if (model.eosTokenIds.length > 0) config.eos_token_id = model.eosTokenIds[0];
  if (model.padTokenId !== null) config.pad_token_id = model.padTokenId;
  return config;
}

async function writeJson(folder: string, name: string, value: unknown): Promise<void> {
  await writeFile(path.join(folder, name), `${JSON.stringify(value, null, 2)}\n`, { flush: true });
}
