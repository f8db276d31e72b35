/**
 * The map of a run's folder, `<output_dir>`: keys within its storage. Everything that reads or writes there takes its keys
 * from here. No imports: workflows may use it.
 */

/** The run's name, recipe digest and state. */
export const runDocumentKey = 'run.json';

/** The recipe as it was admitted. */
export const recipeKey = 'recipe.json';

/** The commit log, an entry a file. */
export const commitsPrefix = 'commits/';
export const commitKey = (sequence: number): string =>
  `${commitsPrefix}${String(sequence).padStart(8, '0')}.json`;

/** Returns the prefix of what one generation wrote: checkpoints, and metrics in segments that the commits name. */
export const generationPrefix = (generation: number): string => `g${generation}/`;
export const checkpointFolder = (generation: number, step: number): string =>
  `${generationPrefix(generation)}step-${String(step).padStart(8, '0')}`;
export const metricsSegmentKey = (generation: number, name: string): string =>
  `${generationPrefix(generation)}metrics/${name}.jsonl`;

/** One line for each step, validation and evaluation, however often the run was interrupted. */
export const metricsKey = 'metrics.jsonl';

/** Everything that happened to the run, in files that are never changed; names sort by time. */
export const timelinePrefix = 'timeline/';

/** Results of tasks, part by part, and how each checkpoint was judged. */
export const evaluationPrefix = 'evaluation/';
export const evaluationHistoryKey = `${evaluationPrefix}history.json`;

/** Answers of tasks, side by side by step. */
export const samplesPrefix = 'samples/';
export const samplesKey = (task: string): string => `${samplesPrefix}${task}.jsonl`;

/** Published models, each a Hugging Face folder: what was trained, the adapter merged into its base, for ONNX Runtime. */
export const publishedFolders = { final: 'final', merged: 'merged', onnx: 'onnx' } as const;
