/** Evaluation: tasks by name, their scores, and text from a model. */
export { rstrip } from '../../shared/python_text.js';
export { registerTask, taskDefinition, taskDefinitions } from './registry.js';
export {
  directionOf,
  type EvaluationOptions,
  evaluationSchema,
  isValidationMetric,
  type RecipeTask,
  recipeTaskSchema,
  taskName,
  watchedProblem,
} from './schema.js';
export { meanEstimate, meansOfScores, ratioEstimate } from './statistics.js';
export type {
  AnswerOptions,
  ChatMessage,
  Direction,
  Estimate,
  EvaluatedModel,
  ExampleResult,
  Likelihood,
  Prompt,
  RowReader,
  RowRequest,
  TaskDefinition,
  TaskOptions,
  TaskRow,
} from './task.js';
