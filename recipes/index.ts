/** What the activities and the ranks call: the steps of a run. */
export { type AdmitInfo, admit } from './base/admit.js';
export { finish, type RunEnd } from './base/finish.js';
export { takeGeneration } from './base/generation.js';
export type { StepHooks } from './base/hooks.js';
export { readRecipe } from './base/read_recipe.js';
export { type Consolidated, type ConsolidateInput, consolidate } from './llm/consolidate.js';
export { type EvaluateInput, evaluate, evaluateEpoch } from './llm/evaluate.js';
export {
  type EvaluateModelOptions,
  evaluateModel,
  type ModelScores,
  readTasks,
} from './llm/evaluate_model.js';
export { type JobRunner, runEvaluationJob } from './llm/evaluation_job.js';
export { type Exported, type ExportOptions, exportRun } from './llm/export.js';
export {
  type Answer,
  type AnswerOptions,
  type ChatMessage,
  openTextGenerator,
  type Prompt,
  TextGenerator,
} from './llm/generate.js';
export { generateFile } from './llm/generate_file.js';
export { type OnnxExport, type OnnxFile, type OnnxPrecision, onnxFiles } from './llm/onnx_files.js';
export {
  exportModelFolder,
  genaiConfigJson,
  onnxConfigJson,
  type WrittenOnnx,
  writeOnnx,
} from './llm/onnx_folder.js';
export { planRun, type RunPlan } from './llm/plan.js';
export { prepareData } from './llm/prepare_data.js';
export { type PreviewRunOptions, previewRun, type SetPreview } from './llm/preview.js';
export { type ScoreOptions, type ScoreSummary, scoreFile } from './llm/score.js';
export { Scorer, type ScorerOptions } from './llm/scorer.js';
export { shardModel } from './llm/shard_model.js';
export { createTrainer, type Trainer } from './llm/trainer.js';
