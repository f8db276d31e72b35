import { cpSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openModel } from '../../../components/models/index.js';
import {
  type AdapterConfigInput,
  adapterConfig,
  adapterInit,
  adapterParameters,
  checkInitFrom,
  loraScale,
  matchTargetModules,
  mergedWeight,
  peftSchema,
  readAdapter,
  readAdapterTensor,
} from '../../../components/peft/index.js';
import { randomStream } from '../../../graph/index.js';
import { fromFloat32, toFloat32 } from '../../../shared/safetensors/floats.js';
import { readSafetensorsHeader } from '../../../shared/safetensors/safetensors.js';
import { writeAdapter } from '../../support/adapter_folder.js';
import { golden } from '../../support/goldens.js';

const base = golden('models', 'gqa_tied_bf16');
const model = await openModel(base);
const linears = model.linearModules;
const names = linears.map(({ module }) => module);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-peft-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('target modules', () => {
  test.each<[string | string[], string[]]>([
    ['all-linear', names],
    [['*_proj'], names],
    [['q_proj'], ['model.layers.0.self_attn.q_proj', 'model.layers.1.self_attn.q_proj']],
    [
      ['self_attn.v_proj', 'q_proj'],
      [
        'model.layers.0.self_attn.q_proj',
        'model.layers.0.self_attn.v_proj',
        'model.layers.1.self_attn.q_proj',
        'model.layers.1.self_attn.v_proj',
      ],
    ],
    [['model.layers.1.mlp.*'], names.filter((name) => name.startsWith('model.layers.1.mlp.'))],
    [['{gate,up}_proj'], names.filter((name) => /(gate|up)_proj$/.test(name))],
    [['/.*\\.0\\.mlp\\.(up|down)_proj/'], ['model.layers.0.mlp.up_proj', 'model.layers.0.mlp.down_proj']],
  ])('%j select the matching modules', (targets, expected) => {
    expect(matchTargetModules(targets, names)).toEqual(expected);
  });

  test('a regular expression has to match the whole path, as in peft', () => {
    expect(() => matchTargetModules(['/q_proj/'], names)).toThrow(/matches no linear module/);
  });

  test('a target that matches nothing is named, and the modules listed', () => {
    expect(() => matchTargetModules(['q_proj', 'qkv'], names)).toThrow(
      /"qkv" matches no linear module of the model; they are model.layers.N.self_attn.q_proj, .*down_proj/,
    );
  });

  test('a broken regular expression is named', () => {
    expect(() => matchTargetModules(['/(/'], names)).toThrow(
      "peft.target_modules: ( is not a regular expression: '(' is not closed",
    );
  });

  test.each(['/([a-z_.0-9]+)+X/', '/(a|aa|[a-z.])*\\d*\\d*\\d*X/', '+(*+(*))X', '*a*e*o*r*s*_*p*j*X'])(
    '%s is checked in linear time, though no module matches',
    (target) => {
      const longName = `model.layers.0.${'self_attn_'.repeat(40)}q_proj`;
      expect(() => matchTargetModules([target], [...names, longName])).toThrow(/matches no linear module/);
    },
  );
});

describe('parameters', () => {
  const module = { module: 'm', in: 100, out: 7 };

  test('have the shapes of A [R, in] and B [out, R]', () => {
    expect(adapterParameters([module], 4)).toEqual([
      { name: 'm.lora_A.weight', module: 'm', kind: 'A', shape: [4, 100] },
      { name: 'm.lora_B.weight', module: 'm', kind: 'B', shape: [7, 4] },
    ]);
  });

  test('start as in peft: A within 1/√in, or of deviation 1/rank; B at zero', () => {
    expect(adapterInit([module], { rank: 4, init: 'kaiming' })).toMatchObject([
      { kind: 'uniform', bound: 0.1 },
      { kind: 'value', value: 0 },
    ]);
    expect(adapterInit([module], { rank: 4, init: 'gaussian' })).toMatchObject([
      { kind: 'normal', std: 0.25 },
      { kind: 'value', value: 0 },
    ]);
  });

  test('draw from different streams, which depend only on their names', () => {
    const sites = adapterInit(linears, { rank: 2, init: 'kaiming' }).flatMap((init) =>
      'site' in init ? [init.site] : [],
    );
    expect(new Set(sites).size).toBe(linears.length);
    expect(randomStream('model.layers.0.self_attn.q_proj.lora_A.weight')).toBe(sites[0]);
  });

  test('are scaled by alpha ÷ rank, or alpha ÷ √rank', () => {
    expect(loraScale({ rank: 4, alpha: 8, rslora: false })).toBe(2);
    expect(loraScale({ rank: 4, alpha: 8, rslora: true })).toBe(4);
  });
});

describe('reading an adapter of peft', () => {
  const copy = async (change: (config: Record<string, unknown>) => void) => {
    const target = await mkdtemp(path.join(folder, 'adapter-'));
    cpSync(golden('peft', 'lora'), target, { recursive: true });
    const file = path.join(target, 'adapter_config.json');
    const config = JSON.parse(await readFile(file, 'utf8'));
    change(config);
    await writeFile(file, JSON.stringify(config));
    return target;
  };

  test('gives its options and modules', async () => {
    expect(await readAdapter(golden('peft', 'rslora'), linears)).toMatchObject({
      rank: 3,
      alpha: 6,
      rslora: true,
      modules: linears,
    });
  });

  test.each<[string, object, RegExp]>([
    ['DoRA', { use_dora: true }, /use_dora: DoRA is not supported/],
    ['another method', { peft_type: 'IA3' }, /only LORA is supported, not "IA3"/],
    ['a rank per module', { rank_pattern: { q_proj: 2 } }, /rank_pattern: a rank per module/],
    ['trained biases', { bias: 'all' }, /bias: training of biases/],
    ['modules trained in full', { modules_to_save: ['lm_head'] }, /modules_to_save: modules trained in full/],
  ])('%s is refused by key', async (_, change, message) => {
    const target = await copy((config) => Object.assign(config, change));
    await expect(readAdapter(target, linears)).rejects.toThrow(message);
  });

  test('a rank that differs from its tensors is refused by tensor', async () => {
    const target = await copy((config) => Object.assign(config, { r: 5 }));
    await expect(readAdapter(target, linears)).rejects.toThrow(
      /lora_A.weight: shape \[4,16\], but model and rank make it \[5,16\]/,
    );
  });

  test('an adapter of another model is refused by tensor', async () => {
    const otherLinears = linears.filter(({ module }) => !module.includes('layers.1'));
    await expect(readAdapter(golden('peft', 'lora'), otherLinears)).rejects.toThrow(
      /unexpected: base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight/,
    );
  });

  test('training can start from it only with the same options in the recipe', async () => {
    const adapter = await readAdapter(golden('peft', 'lora'), linears);
    const options = peftSchema.parse({
      type: 'lora',
      rank: 4,
      alpha: 8,
      target_modules: ['q_proj', 'v_proj'],
    });
    const modules = matchTargetModules(options.target_modules, names);
    expect(() => checkInitFrom(adapter, options, modules)).not.toThrow();
    expect(() => checkInitFrom(adapter, { ...options, rank: 8 }, modules)).toThrow(
      /peft.rank is 8, but the adapter has 4/,
    );
    expect(() => checkInitFrom(adapter, options, names)).toThrow(
      /target_modules takes .*k_proj.*which it does not adapt/,
    );
  });
});

describe('writing an adapter', () => {
  test('gives an adapter that is read with the same tensors', async () => {
    const source = await readAdapter(golden('peft', 'lora'), linears);
    const target = await mkdtemp(path.join(folder, 'written-'));
    const sources = await Promise.all(
      adapterParameters(source.modules, source.rank).map(async ({ name, shape }) => {
        const values = await readAdapterTensor(source, name);
        return { name, dtype: 'F32' as const, shape, chunks: () => [fromFloat32(values, 'F32')] };
      }),
    );
    const input: AdapterConfigInput = {
      options: { rank: 4, alpha: 8, rslora: false, dropout: 0 },
      modules: source.modules.map(({ module }) => module),
      linears: names,
      baseModel: 'some/model',
    };
    await writeAdapter(target, input, sources);
    const copy = await readAdapter(target, linears);
    expect(copy).toMatchObject({ rank: 4, alpha: 8, baseModel: 'some/model' });
    for (const name of source.tensors.keys()) {
      expect(await readAdapterTensor(copy, name)).toEqual(await readAdapterTensor(source, name));
    }
  });

  test('names a kind of module if all of that kind are adapted, otherwise each path', () => {
    const options = { rank: 1, alpha: 1, rslora: false, dropout: 0 };
    const targets = (modules: string[]) =>
      adapterConfig({ options, modules, linears: names, baseModel: 'x' }).target_modules;
    expect(targets(matchTargetModules(['q_proj', 'v_proj'], names))).toEqual(['q_proj', 'v_proj']);
    expect(targets(['model.layers.0.self_attn.q_proj'])).toEqual(['model.layers.0.self_attn.q_proj']);
  });
});

test.each(['lora', 'rslora'])(
  'merging %s gives the weights of peft’s merge_and_unload, to one rounding of float32',
  async (name) => {
    const adapter = await readAdapter(golden('peft', name), linears);
    const baseHeader = await readSafetensorsHeader(path.join(base, 'model.safetensors'));
    const mergedFile = golden('peft', name, 'merged.safetensors');
    const merged = await readSafetensorsHeader(mergedFile);
    const mergedBytes = await readFile(mergedFile);
    for (const { module } of adapter.modules) {
      const weight = {
        file: path.join(base, 'model.safetensors'),
        ...baseHeader.tensors.get(`${module}.weight`)!,
      };
      const a = await readAdapterTensor(adapter, `${module}.lora_A.weight`);
      const b = await readAdapterTensor(adapter, `${module}.lora_B.weight`);
      const chunks: Uint8Array[] = [];
      for await (const chunk of mergedWeight({
        weight,
        a,
        b,
        rank: adapter.rank,
        scale: loraScale(adapter),
        dtype: 'F32',
      }))
        chunks.push(chunk);
      const actual = toFloat32(Buffer.concat(chunks), 'F32');
      const { byteOffset, byteLength } = merged.tensors.get(`${module}.weight`)!;
      const expected = toFloat32(mergedBytes.subarray(byteOffset, byteOffset + byteLength), 'F32');
      const worst = Math.max(...actual.map((value, i) => Math.abs(value - expected[i]!)));
      expect(worst).toBeLessThan(3e-7);
    }
  },
);
