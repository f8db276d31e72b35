/** Sample rows of a recipe's data, exactly as they are trained on, and the report where they have been prepared. */
import { type Preview, previewDataset, validationSets } from '../../../components/datasets/llm/index.js';
import { loadTokenizer } from '../../../components/tokenizer/index.js';
import type { DataReport } from '../../../contracts/index.js';
import { resolveRoots } from '../../../shared/storage/index.js';
import type { StepHooks } from '../../run/progress.js';
import { resolveRunModel } from '../model.js';
import { preparedPacks, tokenizerSource } from '../prepare/packs.js';
import type { Recipe } from '../recipe.js';

export interface SetPreview {
  /** `train`, `validation` or the name of a validation set. */
  name: string;
  rows: Preview[];
  /** Null when the set has not been prepared yet. */
  report: DataReport | null;
}

export interface PreviewRunOptions {
  /** Rows of each dataset. */
  rows: number;
  /** ANSI colors instead of ⟦brackets⟧. */
  color: boolean;
}

/** @throws DataError for data that cannot be used, naming file and row, and ModelError for the model's faults */
export async function previewRun(
  recipe: Recipe,
  { rows: count, color }: PreviewRunOptions,
  hooks: StepHooks,
): Promise<SetPreview[]> {
  const resolved = await resolveRunModel(recipe, hooks);
  const source = await tokenizerSource(resolved.folder);
  const tokenizer = source === null ? null : await loadTokenizer(resolved.folder);
  const packs = await preparedPacks(recipe, resolved, resolveRoots(null).cache);
  const previews: SetPreview[] = [];
  for (const [name, dataset] of Object.entries({
    train: recipe.data.train,
    ...validationSets(recipe.data),
  })) {
    const rows = await previewDataset({
      dataset,
      tokenizer,
      vocabularySize: resolved.model.vocabSize,
      packedSequenceSize: recipe.data.packed_sequence_size,
      count,
      color,
    });
    previews.push({ name, rows, report: packs[name]?.index.report ?? null });
  }
  return previews;
}
