/** The compiler as tests use it: every plan that it makes is proved free of races. */
import type { Plan, PlanBuffer, PlanRecord } from '../../../graph/index.js';
import * as compiler from '../../../graph/index.js';
import { checkPlan } from '../../../graph/passes/check_plan.js';
import * as passes from '../../../graph/passes/plan.js';

function checkedPlan(plan: Plan): Plan {
  checkPlan(plan);
  return plan;
}

function checked<C extends { readonly plan: Plan }>(compiled: C): C {
  checkedPlan(compiled.plan);
  return compiled;
}

export const compileTraining = (options: compiler.TrainingOptions) =>
  checked(compiler.compileTraining(options));
export const compileScoring = (options: compiler.ModelOptions) => checked(compiler.compileScoring(options));
export const compileValidation: typeof compiler.compileValidation = (options) =>
  checked(compiler.compileValidation(options));
export const compileInit: typeof compiler.compileInit = (...args) =>
  checkedPlan(compiler.compileInit(...args));
export const compileCast: typeof compiler.compileCast = (...args) =>
  checkedPlan(compiler.compileCast(...args));
export const assemblePlan: typeof passes.assemblePlan = (...args) => checked(passes.assemblePlan(...args));

export const programRecords = (plan: Plan, program: string): PlanRecord[] =>
  plan.segments.slice(...plan.programs[program]!).flatMap(({ from, to }) => plan.records.slice(from, to));

/** The input slots that a program reads. */
export function inputSlots(plan: Plan, program: string): PlanBuffer[] {
  const read = new Set(programRecords(plan, program).flatMap(({ inputs }) => Object.values(inputs).flat()));
  return plan.buffers.filter(({ space }, index) => space === 'input' && read.has(index));
}
