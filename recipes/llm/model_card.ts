import { stringify } from 'yaml';
import { redact } from '../../components/config/index.js';
import type { Evaluation } from '../../contracts/index.js';
import type { OpenRun } from '../base/run_folder.js';

const isHubId = (name: string) => /^[\w.-]+\/[\w.-]+$/.test(name) && !name.endsWith('.gguf');

/** README.md of a published model: what it is, how it scored, and the recipe that makes it again. */
export function modelCard({ recipe, document, run }: OpenRun, evaluation: Evaluation): string {
  const kind = recipe.peft === null ? 'fine-tuned model' : 'LoRA adapter';
  const header = {
    ...(isHubId(recipe.model.name) ? { base_model: recipe.model.name } : {}),
    library_name: recipe.peft === null ? 'transformers' : 'peft',
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
    `A ${kind} of \`${recipe.model.name}\`, made by Temper in ${evaluation.step} steps.`,
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
