/**
 * A process in which one reader reads damaged inputs: `read_damaged.js READER SEED COUNT FOLDER`. Prints a line of JSON for
 * each that ends in anything but success or a typed error, and `done` at the end.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { loadRecipe } from '../../../components/config/index.js';
import { PackReader, prepareData, readFileRows } from '../../../components/datasets/llm/index.js';
import { modelFromConfig, parseGguf, tokenizerFromGguf } from '../../../components/models/index.js';
import { ModelTokenizer } from '../../../components/tokenizer/index.js';
import { recipeSchema } from '../../../recipes/llm/recipe.js';
import { TemperError } from '../../../shared/errors.js';
import { readSafetensorsHeader } from '../../../shared/safetensors/safetensors.js';
import { golden } from '../../support/goldens.js';
import { Random } from '../../support/random.js';
import { damageBytes, damageJson } from './mutations.js';

const [reader, seed, count, folder] = process.argv.slice(2) as [string, string, string, string];
/** Seconds that each input may take. */
const limitSeconds = 5;

type Attempt = (random: Random) => Promise<unknown>;

const writeScratch = (name: string, bytes: string | Uint8Array): string => {
  const file = path.join(folder, name);
  writeFileSync(file, bytes);
  return file;
};

async function drain(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const row of rows) void row;
}

const sources: Record<string, string> = {
  'rows.csv': 'q,a\n"x, y",z\n"line\nbreak",2\n',
  'rows.tsv': 'q\ta\nx\ty\n"a ""b"""\tc\n',
  'rows.json': '{"version": 1, "data": [{"q": "x", "a": [1, {"b": null}]}, {"q": "\\u00e9"}]}',
  'rows.jsonl': '{"q": "x", "a": 1}\n\n{"q": "y", "a": {"b": [1, 2]}}\n',
  'rows.txt': 'one paragraph\nof lines\n\nand another\n',
};

const recipe = `# a recipe
extends: base.yaml
name: fuzzed-\${seed}
model: {name: owner/model, config_overrides: {rope_theta: 10000.0}}
peft: &lora {type: lora, rank: 8, target_modules: ['*_proj', '/.*mlp.*/']}
data:
  train: {dataset_type: column_mapped, path: a.jsonl, columns: {question: q, answer: a}}
  validation: {first: {dataset_type: text, path: [a.txt, b.txt]}}
training: {num_epochs: 2, learning_rate: 1.0e-4, optimizer: {name: adamw, betas: [0.9, 0.95]}}
output_dir: runs/\${name}
`;

function tokenizerParts() {
  return tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
}

async function packsAttempt(): Promise<Attempt> {
  const { folder: packs, index } = await prepareData({
    dataset: {
      dataset_type: 'mock',
      documents: 40,
      lengths: { min: 2, max: 30 },
      seed: 0,
      vocabulary_size: null,
    },
    packedSequenceSize: 32,
    tokenizer: null,
    vocabularySize: 64,
    cache: folder,
  });
  const packFile = index.shards[0]!.file;
  const sound = readFileSync(path.join(packs, packFile));
  const damagedFolder = path.join(folder, 'damaged');
  mkdirSync(damagedFolder, { recursive: true });
  return async (random) => {
    const choice = random.below(3);
    const text = JSON.stringify(choice === 0 ? index : damageJson(index, random));
    writeFileSync(
      path.join(damagedFolder, 'index.json'),
      random.below(4) === 0 ? damageBytes(Buffer.from(text), random) : text,
    );
    writeFileSync(path.join(damagedFolder, packFile), choice === 1 ? sound : damageBytes(sound, random));
    const packReader = await PackReader.open(damagedFolder);
    try {
      for (let pack = 0; pack < packReader.packs; pack += 1) await packReader.read([pack]);
    } finally {
      await packReader.close();
    }
  };
}

const readers: Record<string, () => Attempt | Promise<Attempt>> = {
  safetensors: () => {
    const sound = readFileSync(golden('tokenizers', 'smollm.safetensors'));
    return (random) => readSafetensorsHeader(writeScratch('model.safetensors', damageBytes(sound, random)));
  },
  gguf: () => {
    const sound = readFileSync(golden('tokenizers', 'llama.gguf'));
    return async (random) =>
      tokenizerFromGguf(parseGguf(writeScratch('model.gguf', damageBytes(sound, random))));
  },
  recipe: () => {
    writeScratch('base.yaml', 'seed: 7\n');
    const options = { schema: recipeSchema, cwd: folder };
    return (random) => loadRecipe({ text: damageBytes(Buffer.from(recipe), random).toString() }, options);
  },
  rows: () => (random) => {
    const [name, text] = Object.entries(sources)[random.below(Object.keys(sources).length)]!;
    const unit = (['file', 'line', 'paragraph'] as const)[random.below(3)]!;
    return drain(readFileRows(writeScratch(name, damageBytes(Buffer.from(text), random)), unit));
  },
  parquet: () => {
    const names = ['rows_zstd', 'rows_snappy'];
    const files = names.map((name) =>
      readFileSync(path.resolve('tests/unit/datasets/goldens', `${name}.parquet`)),
    );
    return (random) =>
      drain(readFileRows(writeScratch('rows.parquet', damageBytes(files[random.below(2)]!, random)), 'line'));
  },
  tokenizer: () => {
    const { tokenizer, config } = tokenizerParts();
    return async (random) => {
      const damaged = damageJson(tokenizer, random) as Record<string, unknown>;
      const built = new ModelTokenizer({ tokenizer: damaged, config, chatTemplate: null }, 'model');
      const { ids } = built.encode('Some text, 12 words\nlong.', { addSpecial: true, offsets: false });
      built.decode(ids);
    };
  },
  config: () => {
    const sound: unknown = JSON.parse(readFileSync(golden('models', 'rope_yarn', 'config.json'), 'utf8'));
    return async (random) => modelFromConfig(damageJson(sound, random), 'config.json');
  },
  packs: packsAttempt,
};

mkdirSync(folder, { recursive: true });
const attempt = await readers[reader]!();
for (let number = 0; number < Number(count); number += 1) {
  const startTime = performance.now();
  const report = (outcome: string) =>
    console.log(JSON.stringify({ reader, seed: Number(seed), number, outcome }));
  try {
    await attempt(new Random(Number(seed) * 100_003 + number));
  } catch (error) {
    if (!(error instanceof TemperError)) report((error as Error).stack ?? String(error));
  }
  // An unhandled rejection ends the process here.
  await new Promise((resolve) => setImmediate(resolve));
  const seconds = (performance.now() - startTime) / 1000;
  if (seconds > limitSeconds) report(`took ${seconds.toFixed(1)} s`);
}
console.log('done');
