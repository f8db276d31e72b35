/** The steps of a run, which activities and ranks call. */
export type { AnswerOptions, ChatMessage, Prompt } from '../shared/text.js';
export {
  type AdmitInfo,
  admit,
  type Recipe,
  type RecipeKind,
  readRecipe,
  recipeKeys,
  recipeSchema,
  registerKind,
  schemaOfKind,
} from './admission.js';
export { shardModel } from './llm/check/check_run.js';
export { type EvaluateInput, evaluate, evaluateEpoch } from './llm/evaluate/evaluate.js';
export {
  type EvaluateModelOptions,
  evaluateModel,
  type ModelScores,
  readTasks,
} from './llm/evaluate/evaluate_model.js';
export { type JobRunner, runEvaluationJob } from './llm/evaluate/evaluation_job.js';
export { type Answer, openTextGenerator, TextGenerator } from './llm/generate/generate.js';
export { generateFile } from './llm/generate/generate_file.js';
export { planRun, type RunForecast } from './llm/inspect/plan.js';
export { type PreviewRunOptions, previewRun, type SetPreview } from './llm/inspect/preview.js';
export { type OnnxExport, type OnnxFile, type OnnxPrecision, onnxFiles } from './llm/onnx/onnx_files.js';
export {
  exportModelFolder,
  genaiConfigJson,
  onnxConfigJson,
  type WrittenOnnx,
  writeOnnx,
} from './llm/onnx/onnx_folder.js';
export { prepareData } from './llm/prepare/prepare_data.js';
export { type Consolidated, type ConsolidateInput, consolidate } from './llm/publish/consolidate.js';
export { type Exported, type ExportOptions, exportRun } from './llm/publish/export.js';
export { type ScoreOptions, type ScoreSummary, scoreFile } from './llm/score/score.js';
export { Scorer, type ScorerOptions } from './llm/score/scorer.js';
export { Control } from './llm/train/control.js';
export { doesNotFit } from './llm/train/memory.js';
export { createTrainer, type Trainer } from './llm/train/trainer.js';
export { finish, type RunEnd } from './run/finish.js';
export { takeGeneration } from './run/generation.js';
export { openRooted } from './run/open_run.js';
export { otherOwner } from './run/other_owner.js';
export type { StepHooks } from './run/progress.js';
export { recordTimeline } from './run/record_timeline.js';
