/** Adapter folders as Hugging Face peft writes and reads them: adapter_model.safetensors and adapter_config.json. */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { LinearModule } from '../../graph/index.js';
import { ModelError } from '../../shared/errors.js';
import { readModelJson } from '../../shared/model_files.js';
import { toFloat32 } from '../../shared/safetensors/floats.js';
import { readSafetensorsHeader, type SafetensorsEntry } from '../../shared/safetensors/safetensors.js';
import { readableFolder } from '../../shared/storage/index.js';
import { adapterParameters } from './parameters.js';
import type { PeftOptions } from './schema.js';

const prefix = 'base_model.model.';
const weightsFile = 'adapter_model.safetensors';
const configFile = 'adapter_config.json';

const absent = (what: string) => ({ error: () => `${what} is not supported` });
const off = (what: string) => z.literal(false, absent(what)).nullish();
const empty = (what: string) =>
  z
    .custom<unknown>((value) => value == null || Object.keys(value as object).length === 0, absent(what))
    .optional();

/** The part of peft's LoraConfig that changes the numbers; everything that Temper does not compute must be off. */
const configSchema = z.object({
  peft_type: z.literal('LORA', {
    error: (issue) => `only LORA is supported, not ${JSON.stringify(issue.input)}`,
  }),
  r: z.int().min(1),
  lora_alpha: z.number(),
  lora_dropout: z.number().min(0).lt(1).default(0),
  use_rslora: z.boolean().default(false),
  bias: z.literal('none', absent('training of biases')).default('none'),
  use_dora: off('DoRA'),
  lora_bias: off('a bias on lora_B'),
  use_qalora: off('QALoRA'),
  fan_in_fan_out: off('a transposed base weight (fan_in_fan_out)'),
  rank_pattern: empty('a rank per module (rank_pattern)'),
  alpha_pattern: empty('an alpha per module (alpha_pattern)'),
  modules_to_save: empty('modules trained in full (modules_to_save)'),
  target_parameters: empty('target_parameters'),
  trainable_token_indices: empty('trainable_token_indices'),
  layer_replication: empty('layer_replication'),
  base_model_name_or_path: z.string().nullish(),
});

export interface Adapter {
  folder: string;
  rank: number;
  alpha: number;
  rslora: boolean;
  dropout: number;
  baseModel: string | null;
  /** Adapted modules, in the order of the model. */
  modules: LinearModule[];
  /** Tensors by parameter name, e.g. `model.layers.0.self_attn.q_proj.lora_A.weight`. */
  tensors: Map<string, SafetensorsEntry & { file: string }>;
}

/**
 * Reads a folder and checks it against the model's linear modules, all problems at once.
 * @throws ModelError
 */
export async function readAdapter(location: string, linears: readonly LinearModule[]): Promise<Adapter> {
  const folder = await readableFolder(location, 'adapter');
  const config = await readConfig(path.join(folder, configFile));
  const file = path.resolve(folder, weightsFile);
  const header = await readSafetensorsHeader(file);
  const tensors: Adapter['tensors'] = new Map();
  const problems: string[] = [];
  for (const [key, entry] of header.tensors) {
    if (key.startsWith(prefix)) tensors.set(key.slice(prefix.length), { ...entry, file });
    else problems.push(`unexpected: ${key}`);
  }
  const modules = linears.filter(({ module }) =>
    [...'AB'].some((kind) => tensors.has(`${module}.lora_${kind}.weight`)),
  );
  const expected = new Map(
    adapterParameters(modules, config.r).map((parameter) => [parameter.name, parameter]),
  );
  for (const { name, shape } of expected.values()) {
    const tensor = tensors.get(name);
    if (tensor === undefined) problems.push(`missing: ${prefix}${name}`);
    else if (tensor.shape.join() !== shape.join())
      problems.push(`${prefix}${name}: shape [${tensor.shape}], but model and rank make it [${shape}]`);
    else if (!['F32', 'BF16', 'F16'].includes(tensor.dtype))
      problems.push(`${prefix}${name}: dtype ${tensor.dtype}`);
  }
  for (const name of tensors.keys()) {
    if (!expected.has(name))
      problems.push(`unexpected: ${prefix}${name}, which is not a linear module of this model`);
  }
  if (modules.length === 0) problems.push('it adapts no linear module of this model');
  if (problems.length > 0) {
    throw new ModelError(
      `${file}: the adapter does not fit\n${problems
        .slice(0, 12)
        .map((line) => `  ${line}`)
        .join('\n')}`,
    );
  }
  return {
    folder,
    rank: config.r,
    alpha: config.lora_alpha,
    rslora: config.use_rslora,
    dropout: config.lora_dropout,
    baseModel: config.base_model_name_or_path ?? null,
    modules,
    tensors,
  };
}

async function readConfig(file: string): Promise<z.infer<typeof configSchema>> {
  const json = await readModelJson(file);
  if (json === null)
    throw new ModelError(`${file}: there is no such file; is this the folder of an adapter?`);
  const result = configSchema.safeParse(json);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new ModelError(`${file}: this adapter cannot be used\n${lines.join('\n')}`);
}

/** Returns a parameter's values as float32. */
export async function readAdapterTensor(adapter: Adapter, name: string): Promise<Float32Array> {
  const entry = adapter.tensors.get(name);
  if (entry === undefined) throw new ModelError(`${adapter.folder}: the adapter has no tensor ${name}`);
  const handle = await open(entry.file);
  try {
    const bytes = Buffer.alloc(entry.byteLength);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, entry.byteOffset);
    if (bytesRead !== bytes.length)
      throw new ModelError(
        `${entry.file}: became shorter while it was read; start again once nothing writes to it`,
      );
    return toFloat32(bytes, entry.dtype);
  } finally {
    await handle.close();
  }
}

/**
 * Refuses an `init_from` whose adapter is not of the recipe's shape.
 * @throws ModelError naming the keys
 */
export function checkInitFrom(adapter: Adapter, options: PeftOptions, modules: readonly string[]): void {
  const problems: string[] = [];
  const compare = (key: string, expected: unknown, actual: unknown) => {
    if (expected !== actual) problems.push(`peft.${key} is ${expected}, but the adapter has ${actual}`);
  };
  compare('rank', options.rank, adapter.rank);
  compare('alpha', options.alpha, adapter.alpha);
  compare('rslora', options.rslora, adapter.rslora);
  const ownModules = new Set(adapter.modules.map(({ module }) => module));
  const missing = modules.filter((module) => !ownModules.has(module));
  const extra = [...ownModules].filter((module) => !modules.includes(module));
  if (missing.length > 0)
    problems.push(
      `peft.target_modules takes ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ' …' : ''}, which it does not adapt`,
    );
  if (extra.length > 0)
    problems.push(
      `it adapts ${extra.slice(0, 3).join(', ')}${extra.length > 3 ? ' …' : ''}, which peft.target_modules leaves out`,
    );
  if (problems.length > 0)
    throw new ModelError(
      `${adapter.folder}: training cannot continue from this adapter\n${problems.map((line) => `  ${line}`).join('\n')}`,
    );
}

/** Returns the key of a parameter in adapter_model.safetensors. */
export function adapterTensorKey(parameter: string): string {
  return `${prefix}${parameter}`;
}

export interface AdapterConfigInput {
  options: Pick<PeftOptions, 'rank' | 'alpha' | 'rslora' | 'dropout'>;
  /** Adapted modules, and all linear modules of the model. */
  modules: readonly string[];
  linears: readonly string[];
  /** Hugging Face id or folder of the base model. */
  baseModel: string;
}

/** Returns adapter_config.json, with the keys that peft and vLLM read. */
export function adapterConfig({
  options,
  modules,
  linears,
  baseModel,
}: AdapterConfigInput): Record<string, unknown> {
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseModel,
    revision: null,
    inference_mode: true,
    r: options.rank,
    lora_alpha: options.alpha,
    lora_dropout: options.dropout,
    use_rslora: options.rslora,
    use_dora: false,
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
    target_modules: shortNames(modules, linears),
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
    layers_to_transform: null,
    layers_pattern: null,
  };
}

/** Returns `q_proj` for all modules of that name if all are adapted, else full paths. */
function shortNames(modules: readonly string[], linears: readonly string[]): string[] {
  const adapted = new Set(modules);
  const lastPart = (module: string) => module.split('.').at(-1)!;
  const whole = (name: string) =>
    linears.filter((module) => lastPart(module) === name).every((module) => adapted.has(module));
  return [...new Set(modules.map((module) => (whole(lastPart(module)) ? lastPart(module) : module)))].sort();
}
