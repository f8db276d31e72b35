import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { readTextConfig, textConfig } from '../../../components/models/blocks/text_config.js';
import { textFamily } from '../../../components/models/blocks/text_family.js';
import {
  knownArchitectures,
  modelFromConfig,
  openModel,
  registerModelFamily,
} from '../../../components/models/index.js';
import { golden, goldenModels } from '../../support/goldens.js';
import { temporaryFolder } from '../../support/temporary_folder.js';

const parse = (json: Record<string, unknown>, location = 'config.json') =>
  readTextConfig(textConfig, json, { location, architecture: 'LlamaForCausalLM' });

const base = {
  architectures: ['LlamaForCausalLM'],
  hidden_size: 64,
  num_attention_heads: 4,
  num_hidden_layers: 2,
  vocab_size: 100,
  intermediate_size: 96,
};

test('the old and the current spelling of a config.json are read as the same config', () => {
  const scaling = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const oldSpelling = {
    ...base,
    torch_dtype: 'bfloat16',
    rope_theta: 5e5,
    rope_scaling: { type: 'llama3', ...scaling },
  };
  const currentSpelling = {
    ...base,
    dtype: 'bfloat16',
    rope_parameters: { rope_type: 'llama3', rope_theta: 5e5, ...scaling },
  };
  expect(parse(oldSpelling)).toEqual(parse(currentSpelling));
});

test('keys that a config.json leaves out have the defaults of transformers', () => {
  expect(parse({})).toMatchObject({
    vocab_size: 32000,
    hidden_size: 4096,
    num_key_value_heads: 32,
    head_dim: 128,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
    rope: { rope_type: 'default', rope_theta: 10000 },
  });
});

test('a family has an activation function of its own, and refuses the others', () => {
  const family = textFamily({
    architecture: 'TestGeluForCausalLM',
    modelType: 'test_gelu',
    gguf: { architecture: 'test_gelu', interleavedRope: false },
    config: textConfig.extend({ hidden_act: z.literal('gelu_pytorch_tanh') }),
    forward(m) {
      m.head(m.glu('mlp', m.embed(), { fn: 'gelu_tanh', bias: false }), { tied: true });
    },
  });
  const model = family.model({ ...base, hidden_act: 'gelu_pytorch_tanh' }, 'config.json');
  const dtypes = new Map(model.tensors.map(({ name }) => [name, 'f32' as const]));
  const { nodes } = model.forward({ tokens: 4, positions: 4, dtypes });
  expect(nodes.find(({ op }) => op === 'glu')!.attrs).toEqual({ fn: 'gelu_tanh' });
  expect(() => family.model({ ...base, hidden_act: 'gelu' }, 'config.json')).toThrow('hidden_act');
});

test('the original context length of YaRN is the config’s if the scaling has none', () => {
  const config = parse({
    ...base,
    max_position_embeddings: 512,
    rope_scaling: { type: 'yarn', factor: 4 },
  });
  expect(config.rope).toMatchObject({ original_max_position_embeddings: 512 });
});

test.each<[string, object, RegExp]>([
  ['another activation', { hidden_act: 'gelu' }, /hidden_act: only 'silu' is supported, not "gelu"/],
  [
    'dynamic RoPE',
    { rope_scaling: { type: 'dynamic', factor: 2 } },
    /rope_type "dynamic" is not supported; supported: default, linear, llama3, yarn/,
  ],
  ['a scaling without its factor', { rope_parameters: { rope_type: 'linear' } }, /rope_parameters.factor/],
  ['partial rotary embedding', { partial_rotary_factor: 0.5 }, /partial_rotary_factor: only 1/],
  ['attention dropout', { attention_dropout: 0.1 }, /attention_dropout/],
  [
    'a quantized checkpoint',
    { quantization_config: { bits: 4 } },
    /quantization_config: a quantized checkpoint/,
  ],
  ['heads that cannot share', { num_key_value_heads: 3 }, /4 heads cannot share 3 key-value heads/],
  ['a width without a head size', { hidden_size: 66 }, /66 is not a multiple of num_attention_heads, 4/],
  ['an odd head size', { head_dim: 5 }, /must be even, not 5/],
  ['a negative size', { intermediate_size: -1 }, /intermediate_size/],
  ['more layers than memory', { num_hidden_layers: 50_000_000 }, /num_hidden_layers: .*4096/],
  ['more layers than a list may have', { num_hidden_layers: 4_294_967_296 }, /num_hidden_layers: .*4096/],
  ['a size beyond 32 bits', { vocab_size: 2 ** 31 }, /vocab_size: .*2147483647/],
])('a config.json with %s is refused by key', (_, change, message) => {
  expect(() => parse({ ...base, ...change }, 'folder/config.json')).toThrow(message);
});

test('all problems of a config.json are listed together, under the file’s name', () => {
  const brokenConfig = {
    ...base,
    hidden_act: 'relu',
    vocab_size: 'many',
    rope_scaling: { type: 'longrope' },
  };
  expect(() => parse(brokenConfig, 'my/config.json')).toThrow(
    /my\/config\.json[\s\S]*vocab_size[\s\S]*hidden_act[\s\S]*longrope/,
  );
});

test('an unknown architecture lists the known ones', () => {
  expect(() => modelFromConfig({ architectures: ['GPT2LMHeadModel'] }, 'x')).toThrow(
    /"GPT2LMHeadModel" is not supported; supported: LlamaForCausalLM/,
  );
  expect(() => modelFromConfig({}, 'x')).toThrow(/names no 'architectures'/);
});

test('a family is found by its architecture, and registered once', () => {
  const model = modelFromConfig(base, 'x');
  const family = {
    architecture: 'MyForCausalLM',
    ggufArchitectures: [],
    model: () => model,
    configFromGguf: () => ({}),
  };
  registerModelFamily(family);
  expect(modelFromConfig({ architectures: ['MyForCausalLM'] }, 'x')).toBe(model);
  expect(knownArchitectures()).toEqual(['LlamaForCausalLM', 'MyForCausalLM']);
  expect(() => registerModelFamily(family)).toThrow("the model family 'MyForCausalLM' is registered twice");
});

test('overrides replace keys of config.json', async () => {
  const model = await openModel(golden('models', 'gqa_tied_bf16'), { max_position_embeddings: 4096 });
  expect(model.maxPositions).toBe(4096);
});

const folder = temporaryFolder();

test('a config.json that is a pipe or a list is named', async () => {
  execFileSync('mkfifo', [path.join(folder, 'config.json')]);
  await expect(openModel(folder)).rejects.toThrow(/config\.json: cannot be read: it is a device or a pipe/);
  rmSync(path.join(folder, 'config.json'));
  writeFileSync(path.join(folder, 'config.json'), '[]');
  await expect(openModel(folder)).rejects.toThrow(/config\.json: not a JSON object/);
});

test('a folder without config.json is refused as a model folder', async () => {
  await expect(openModel(golden('tokenizers'))).rejects.toThrow(/not a model folder, it has no config.json/);
});

test.each(goldenModels)('the expected tensors of %s are transformers’ parameters', async (name) => {
  const { locateWeights } = await import('../../../components/models/index.js');
  const model = await openModel(golden('models', name));
  const weights = await locateWeights(golden('models', name), model);
  expect([...weights.keys()]).toEqual(model.tensors.map((tensor) => tensor.name));
});
