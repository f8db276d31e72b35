// Trains the same steps on this checkout and on another commit, and compares every loss and every saved tensor bit by bit.
//   node infra/peers/against.mjs COMMIT [--steps 20] [--only lora-bf16-2] [--losses 1e-5] [--dropout-seeds 20]
// Eight cases on SmolLM2: LoRA (dropout 0) and full fine-tuning, fp32 and bf16, one thread and two. With --losses, weights
// may differ (a sum was reordered on purpose) and losses must agree to that relative error. With --dropout-seeds, instead:
// LoRA with dropout 0.1 from so many seeds, whose mean losses must agree within two standard errors. Each side runs `temper run`
// in its own processes, folders and caches; the other commit is built once, in build/against/.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    steps: { type: 'string', default: '20' },
    only: { type: 'string', default: '' },
    losses: { type: 'string' },
    'dropout-seeds': { type: 'string' },
  },
});
if (positionals.length !== 1) {
  process.stderr.write(
    'usage: node infra/peers/against.mjs COMMIT [--steps N] [--only CASE] [--losses ERROR] [--dropout-seeds N]\n',
  );
  process.exit(2);
}
const steps = Number(values.steps);
const work = path.join(root, 'build/against');

const git = (...args) => execFileSync('git', ['-C', root, ...args], { encoding: 'utf8' }).trim();

/** A set-up checkout of the commit; built where it is missing. */
function checkout(commit) {
  const folder = path.join(work, git('rev-parse', '--short=12', `${commit}^{commit}`));
  if (!existsSync(folder)) git('worktree', 'add', '--detach', folder, commit);
  execFileSync('bash', ['infra/setup/setup.sh'], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
  return folder;
}

/** Documents without a pattern, the same every time (Numerical Recipes' generator). */
function writeDocuments(file) {
  let state = 1;
  const next = (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  const lines = Array.from({ length: 4 * steps }, () => {
    const ids = Array.from({ length: 32 + next(96) }, () => next(49152));
    return JSON.stringify({ input_ids: ids, labels: ids.map((id, index) => (index < 8 ? -100 : id)) });
  });
  writeFileSync(file, `${lines.join('\n')}\n`);
}

function recipe({ peft, precision, dropout = 0, seed = 1111 }, output) {
  return {
    name: path.basename(output),
    seed,
    model: { name: path.join(cache, 'models/SmolLM2-135M-Instruct.Q4_1.gguf') },
    ...(peft && { peft: { type: 'lora', rank: 8, alpha: 16, dropout, target_modules: ['*_proj'] } }),
    data: {
      train: { dataset_type: 'pretokenized', path: path.join(work, 'documents.jsonl') },
      packed_sequence_size: 128,
      batch_size: { global: 2, micro: 1 },
    },
    training: { learning_rate: peft ? 2e-4 : 1e-5, num_epochs: 10, max_steps: steps, precision },
    checkpoint: { every_steps: steps },
    output_dir: output,
  };
}

function train(side, name, options) {
  const folder = path.join(work, 'runs', side.name, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const output = path.join(folder, name);
  const file = path.join(folder, 'recipe.json');
  writeFileSync(file, JSON.stringify(recipe(options, output)));
  const { status, stderr } = spawnSync(
    path.join(side.folder, 'bin/temper'),
    ['run', file, '--json', '--new'],
    {
      env: { ...process.env, TEMPER_THREADS: String(options.threads), TEMPER_CACHE: side.cache },
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`${side.name}, ${name}: exit code ${status}\n${stderr.slice(-2000)}`);
  return { losses: readLosses(output), tensors: readTensors(output) };
}

function readLosses(output) {
  return readFileSync(path.join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter((line) => line.loss !== undefined)
    .map(({ step, loss, grad_norm: norm }) => ({ step, loss, norm }));
}

/** Every tensor of the newest checkpoint: weights and optimizer state. */
function readTensors(output) {
  const files = readdirSync(output, { recursive: true })
    .filter((file) => /^g\d+\/step-\d+\/.*\.safetensors$/.test(file))
    .map((file) => ({ file, step: Number(/step-(\d+)/.exec(file)[1]) }));
  const last = Math.max(...files.map(({ step }) => step));
  if (last !== steps) throw new Error(`${output}: the newest checkpoint is of step ${last}, not ${steps}`);
  const tensors = new Map();
  for (const { file, step } of files) {
    if (step !== last) continue;
    const bytes = readFileSync(path.join(output, file));
    const length = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
    for (const [name, entry] of Object.entries(header)) {
      if (name === '__metadata__') continue;
      const [start, end] = entry.data_offsets.map((offset) => offset + 8 + length);
      tensors.set(name, bytes.subarray(start, end));
    }
  }
  return tensors;
}

/** Relative difference of the two curves, and the tensors that are not the same bits. */
function compare(ours, theirs) {
  const error = Math.max(
    ...ours.losses.flatMap((line, index) =>
      ['loss', 'norm'].map((key) => Math.abs(line[key] / theirs.losses[index][key] - 1)),
    ),
  );
  const names = new Set([...ours.tensors.keys(), ...theirs.tensors.keys()]);
  const different = [...names].filter((name) => {
    const [a, b] = [ours.tensors.get(name), theirs.tensors.get(name)];
    return a === undefined || b === undefined || !a.equals(b);
  });
  return { error, different, tensors: names.size };
}

const cache = process.env.TEMPER_CACHE || path.join(homedir(), '.cache/temper');
/** A cache per side, because the forms of what lies in it may differ; the Temporal CLI is found through PATH. */
function side(name, folder) {
  const own = path.join(work, 'caches', name);
  mkdirSync(own, { recursive: true });
  if (!existsSync(path.join(own, 'bin'))) symlinkSync(path.join(cache, 'bin'), path.join(own, 'bin'));
  return { name, folder, cache: own };
}

mkdirSync(work, { recursive: true });
execFileSync('bash', ['infra/quickstart/fetch_weights.sh'], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
});
writeDocuments(path.join(work, 'documents.jsonl'));
const [here, there] = [side('here', root), side('there', checkout(positionals[0]))];
const cases = ['lora', 'full'].flatMap((mode) =>
  ['fp32', 'bf16'].flatMap((precision) =>
    [1, 2].map((threads) => ({
      name: `${mode}-${precision}-${threads}`,
      options: { peft: mode === 'lora', precision, threads },
    })),
  ),
);

/** Trains every case on both sides; returns how many agree and how many do not. */
function compareCases() {
  const counts = { passed: 0, failed: 0 };
  for (const { name, options } of cases.filter((entry) => entry.name.includes(values.only))) {
    const { error, different, tensors } = compare(train(here, name, options), train(there, name, options));
    const equal = different.length === 0 && error === 0;
    const accepted = equal || (values.losses !== undefined && error <= Number(values.losses));
    counts[accepted ? 'passed' : 'failed'] += 1;
    const bits = equal
      ? `same bits (${tensors} tensors)`
      : `${different.length} of ${tensors} tensors differ`;
    process.stdout.write(
      `${accepted ? '✓' : '✗'} ${name.padEnd(12)} ${bits}, losses and norms within ${error.toExponential(1)}` +
        `${equal ? '' : `; first: ${different.slice(0, 3).join(', ')}`}\n`,
    );
  }
  return counts;
}

/** The masks of two commits may differ; the mean of many seeds may not. Both sides see the same packs in one order. */
function compareDropout(seeds) {
  const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  const options = { peft: true, precision: 'bf16', threads: 2, dropout: 0.1 };
  const meanLoss = (side, seed) =>
    mean(train(side, `dropout-${seed}`, { ...options, seed }).losses.map(({ loss }) => loss));
  const differences = Array.from({ length: seeds }, (_, index) => {
    const [ours, theirs] = [here, there].map((side) => meanLoss(side, index + 1));
    process.stdout.write(`seed ${index + 1}: ${ours.toFixed(6)} and ${theirs.toFixed(6)}\n`);
    return ours - theirs;
  });
  const difference = mean(differences);
  const variance = mean(differences.map((x) => (x - difference) ** 2)) * (seeds / (seeds - 1));
  const standardError = Math.sqrt(variance / seeds);
  const agrees = Math.abs(difference) <= 2 * standardError;
  process.stdout.write(
    `${agrees ? '✓' : '✗'} dropout 0.1, ${seeds} seeds: mean losses differ by ${difference.toExponential(2)}, ` +
      `standard error ${standardError.toExponential(2)}\n`,
  );
  return { passed: agrees ? 1 : 0, failed: agrees ? 0 : 1 };
}

const seeds = values['dropout-seeds'];
const { passed, failed } = seeds === undefined ? compareCases() : compareDropout(Number(seeds));
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
