// Runs the quickstart's recipe with the public command and reports the result: scores before and after, the loss curve,
// where the adapter is and how to load it.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { plot } from '../../dist/cli/terminal/plot.js';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const recipe = path.join(root, 'examples/llm/smollm2_135m_countries_lora.yaml');
const cache = process.env.TEMPER_CACHE || path.join(homedir(), '.cache/temper');
const weights = path.join(cache, 'models/SmolLM2-135M-Instruct.Q4_1.gguf');
const environment = { ...process.env };
if (existsSync(weights)) environment.TEMPER_QUICKSTART_MODEL ??= weights;

const command = path.join(root, 'bin/temper');
const shown = (text) => process.stdout.write(`${text}\n`);
shown(`\n$ temper run ${path.relative(process.cwd(), recipe)} --new\n`);
const child = spawn(command, ['run', recipe, '--new', '--json', ...process.argv.slice(2)], {
  env: environment,
  stdio: ['inherit', 'pipe', 'inherit'],
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {}); // the run handles them
let output = '';
child.stdout.setEncoding('utf8');
child.stdout.on('data', (text) => {
  output += text;
});
const code = await new Promise((resolve) => child.on('close', resolve));
if (code !== 0) process.exit(code ?? 1);
const result = JSON.parse(output);
const linesOf = async (file) =>
  (await readFile(path.join(result.outputDir, file), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
report(await linesOf('metrics.jsonl'), await linesOf('samples/facts.jsonl'));

function report(metrics, answers) {
  const steps = metrics.filter((line) => 'grad_norm' in line);
  const { before, after, scores } = result.evaluation;
  const seconds = Math.round((Date.parse(result.finishedAt) - Date.parse(result.startedAt)) / 1000);
  const tokens = steps.map(({ tps }) => tps).sort((a, b) => a - b)[Math.floor(steps.length / 2)];
  shown(
    `\nSmolLM2-135M-Instruct, LoRA, ${result.steps} steps in ${seconds} s (${Math.round(tokens)} tokens/s)\n`,
  );

  const countries = scores.after['facts/valid_json'].n;
  const row = (name, from, to) => shown(`  ${name.padEnd(18)} ${from.padStart(9)} → ${to.padStart(9)}`);
  const counted = (name, metric) => {
    const count = (share) => `${Math.round(share * countries)} of ${countries}`;
    row(name, count(before[metric]), count(after[metric]));
  };
  shown(`${countries} countries it never saw      before       after`);
  counted('valid JSON', 'facts/valid_json');
  counted('correct region', 'facts/field/region');
  counted('correct domain', 'facts/field/domain');
  counted('correct capital', 'facts/field/capital');
  row('loss', before.val_loss.toFixed(3), after.val_loss.toFixed(3));
  row('perplexity', before.perplexity.toFixed(2), after.perplexity.toFixed(2));

  const [example] = answers;
  shown(`\n${example.prompt}\n`);
  shown(`  before  ${example.answers[0].replaceAll('\n', '\n          ')}\n`);
  shown(`  after   ${example.answers[result.evaluation.step]}\n`);
  shown(
    `Training loss by step\n\n${plot(
      steps.map(({ loss }) => loss),
      60,
      8,
    )}\n`,
  );
  shown(`The adapter: ${result.model}`);
  shown('Load it in Python:\n');
  shown('  from peft import AutoPeftModelForCausalLM');
  shown(`  model = AutoPeftModelForCausalLM.from_pretrained("${result.model}")\n`);
  shown(
    'Interrupt it next time (Ctrl-C, kill -9, anything), and run the same command without --new: it resumes where it was.',
  );
}
