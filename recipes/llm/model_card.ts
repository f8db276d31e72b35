import { stringify } from 'yaml';
import { redact } from '../../components/config/index.js';
import type { Evaluation } from '../../contracts/index.js';
import type { OpenRun } from '../base/run_folder.js';
import type { ModelForm } from './consolidate.js';

const kinds: Record<ModelForm, string> = {
  adapter: 'A LoRA adapter',
  merged: 'The merged model of a LoRA fine-tuning',
  full: 'A fine-tuned model',
};

const isHubId = (name: string) => /^[\w.-]+\/[\w.-]+$/.test(name) && !name.endsWith('.gguf');

/** README.md of a published model: what it is, how it scored, and the recipe that makes it again. */
export function modelCard(
  { recipe, document, run }: OpenRun,
  evaluation: Evaluation,
  form: ModelForm,
): string {
  const header = {
    ...(isHubId(recipe.model.name) ? { base_model: recipe.model.name } : {}),
    library_name: form === 'adapter' ? 'peft' : 'transformers',
    tags: ['temper', ...(recipe.peft === null ? [] : ['lora'])],
  };
  const names = [...new Set([...Object.keys(evaluation.before), ...Object.keys(evaluation.after)])];
  const cell = (value: number | undefined) => (value === undefined ? '–' : value.toPrecision(4));
  const scores = names.map(
    (name) => `| ${name} | ${cell(evaluation.before[name])} | ${cell(evaluation.after[name])} |`,
  );
  const table =
    scores.length === 0 ? [] : ['', '| score | before | after |', '| --- | --- | --- |', ...scores];
  return [
    '---',
    stringify(header).trimEnd(),
    '---',
    '',
    `# ${recipe.name}`,
    '',
    `${kinds[form]} of \`${recipe.model.name}\`, made by Temper in ${evaluation.step} steps.`,
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
