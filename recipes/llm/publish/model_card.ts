import { stringify } from 'yaml';
import { redact } from '../../../components/config/index.js';
import type { Score } from '../../../contracts/index.js';
import type { CommitScores } from '../evaluate/evaluate.js';
import type { OpenRun } from '../kind.js';
import type { ModelForm } from '../model_folder/publisher.js';

type CardForm = ModelForm | 'onnx';

const kinds: Record<CardForm, string> = {
  adapter: 'A LoRA adapter',
  merged: 'The merged model of a LoRA fine-tuning',
  full: 'A fine-tuned model',
  onnx: 'The ONNX export of a fine-tuned model',
};

const libraries: Record<CardForm, string> = {
  adapter: 'peft',
  merged: 'transformers',
  full: 'transformers',
  onnx: 'transformers.js',
};

const isHubId = (name: string) => /^[\w.-]+\/[\w.-]+$/.test(name) && !name.endsWith('.gguf');

/** Returns README.md of a published model: what it is, how it scored, and the recipe that makes it again. */
export function modelCard(
  { recipe, document, run }: OpenRun,
  evaluation: CommitScores,
  form: CardForm,
): string {
  const header = {
    ...(isHubId(recipe.model.name) ? { base_model: recipe.model.name } : {}),
    library_name: libraries[form],
    tags: ['temper', ...(recipe.peft === null ? [] : ['lora'])],
  };
  const names = [...new Set([...Object.keys(evaluation.before), ...Object.keys(evaluation.after)])];
  const { before, after } = evaluation.scores;
  const scores = names.map((name) => {
    const from = cell(evaluation.before[name], before[name]);
    const to = cell(evaluation.after[name], after[name]);
    return `| ${name} | ${from} | ${to} | ${after[name]?.n ?? before[name]?.n ?? ''} |`;
  });
  const head = ['', '| score | before | after | examples |', '| --- | --- | --- | --- |'];
  const table = scores.length === 0 ? [] : [...head, ...scores];
  return [
    '---',
    stringify(header).trimEnd(),
    '---',
    '',
    `# ${recipe.name}`,
    '',
    `${kinds[form]} of \`${recipe.model.name}\`, trained with Temper for ${evaluation.step} steps.`,
    ...table,
    '',
    `Recipe (digest \`${run.recipeDigest.slice(0, 16)}\`):`,
    '',
    '```yaml',
    stringify(redact(document)).trimEnd(),
    '```',
    '',
  ].join('\n');
}

/** Returns a value with its standard error, where that is known. */
function cell(value: number | undefined, score: Score | undefined): string {
  if (value === undefined) return '–';
  const stderr = score?.stderr ?? null;
  return stderr === null ? value.toPrecision(4) : `${value.toPrecision(4)} ± ${stderr.toPrecision(2)}`;
}
