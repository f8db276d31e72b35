/** What the activities and the ranks call: the steps of a run. */
export { type AdmitInfo, admit } from './base/admit.js';
export { finish, type RunEnd } from './base/finish.js';
export { takeGeneration } from './base/generation.js';
export type { StepHooks } from './base/hooks.js';
export { otherOwner } from './base/other_owner.js';
export { readRecipe } from './base/read_recipe.js';
export { recordTimeline } from './base/record_timeline.js';
export { type EvaluateInput, evaluate, evaluateEpoch } from './llm/evaluate/evaluate.js';
export {
  type EvaluateModelOptions,
  evaluateModel,
  type ModelScores,
  readTasks,
} from './llm/evaluate/evaluate_model.js';
export { type JobRunner, runEvaluationJob } from './llm/evaluate/evaluation_job.js';
export {
  type Answer,
  type AnswerOptions,
  type ChatMessage,
  openTextGenerator,
  type Prompt,
  TextGenerator,
} from './llm/generate/generate.js';
export { generateFile } from './llm/generate/generate_file.js';
export { planRun, type RunPlan } from './llm/inspect/plan.js';
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
export { shardModel } from './llm/prepare/shard_model.js';
export { type Consolidated, type ConsolidateInput, consolidate } from './llm/publish/consolidate.js';
export { type Exported, type ExportOptions, exportRun } from './llm/publish/export.js';
export { type ScoreOptions, type ScoreSummary, scoreFile } from './llm/score/score.js';
export { Scorer, type ScorerOptions } from './llm/score/scorer.js';
export { Control } from './llm/train/control.js';
export { createTrainer, type Trainer } from './llm/train/trainer.js';
