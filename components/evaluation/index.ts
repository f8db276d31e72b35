/** Evaluation: tasks by name, their scores, and text from a model. */
export { rstrip } from '../../shared/python_text.js';
export type { AnswerOptions, ChatMessage, Prompt } from '../../shared/text.js';
export { meanEstimate, meansOfScores, ratioEstimate } from './scoring/statistics.js';
export type {
  Direction,
  Estimate,
  EvaluatedModel,
  ExampleResult,
  Likelihood,
  RowReader,
  RowRequest,
  TaskDefinition,
  TaskOptions,
  TaskRow,
} from './scoring/task.js';
export { registerTask, taskDefinition, taskDefinitions } from './tasks/registry.js';
export {
  type EvaluationOptions,
  evaluationSchema,
  findDirection,
  isValidationMetric,
  type RecipeTask,
  recipeTaskSchema,
  taskName,
  watchedProblem,
} from './tasks/schema.js';
