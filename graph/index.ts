/** The model as data: values, ops, passes, the float64 interpreter and the plan. */
export * from './builder.js';
export * from './error.js';
export * from './graph.js';
export * from './ops/op.js';
export * from './ops/registry.js';
export * from './philox.js';
export * from './plan.js';
export * from './round.js';
