/** The model as data: values, ops, passes, the float64 interpreter and the plan. */
export * from './builder.js';
export * from './compile.js';
export * from './compile_cast.js';
export * from './error.js';
export * from './graph.js';
export * from './interpret.js';
export * from './ops/op.js';
export * from './ops/registry.js';
export { type LoraOptions, linearModules, loraNames } from './passes/lora.js';
export type { LossKind } from './passes/loss.js';
export type { OptimizerSpec } from './passes/optimizer.js';
export { digestOf, printPlan } from './passes/plan.js';
export type { Precision } from './passes/precision.js';
export * from './philox.js';
export * from './plan.js';
export * from './report.js';
export * from './round.js';
