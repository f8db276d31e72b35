/**
 * The computation of each step, in a process of its own: a recipe, a data file or a model decides what it does, for how
 * long and with how much memory. The code of a step is loaded when it is first asked for, and nothing of Temporal with it.
 */
import type {
  Admitted,
  ConsolidateRequest,
  EvaluateEpochRequest,
  EvaluateRequest,
  RunReference,
  StepActivities,
  StepName,
} from '../contracts/index.js';
import type { AdmitInfo, StepHooks } from '../recipes/index.js';

export interface AdmitRequest {
  /** The workflow's input. */
  input: unknown;
  info: AdmitInfo;
}

/** Request and result of each step. */
export type Steps = {
  admit(request: AdmitRequest): Promise<Admitted>;
} & StepActivities;

type Compute = {
  [Name in StepName]: (
    request: Parameters<Steps[Name]>[0],
    hooks: StepHooks,
    /** The device that this host's ranks train on. Steps compute on the CPU: it is for what they plan. */
    device: string,
  ) => ReturnType<Steps[Name]>;
};

export const steps: Compute = {
  admit: async ({ input, info }: AdmitRequest) => {
    const { admit } = await import('../recipes/admission.js');
    return await admit(input, info);
  },
  prepareData: async (run: RunReference, hooks) => {
    const { prepareData } = await import('../recipes/llm/prepare/prepare_data.js');
    return await prepareData(run, hooks);
  },
  shardModel: async (run: RunReference, hooks, device) => {
    const { shardModel } = await import('../recipes/llm/check/check_run.js');
    return await shardModel(run, hooks, device);
  },
  evaluateEpoch: async ({ run, model, step, finished }: EvaluateEpochRequest, hooks) => {
    const { evaluateEpoch } = await import('../recipes/llm/evaluate/evaluate.js');
    return await evaluateEpoch(run, { model, step, finished }, hooks);
  },
  evaluate: async ({ run, model, data }: EvaluateRequest, hooks) => {
    const { evaluate } = await import('../recipes/llm/evaluate/evaluate.js');
    return await evaluate(run, { model, data }, hooks);
  },
  consolidate: async ({ run, model, data, evaluation }: ConsolidateRequest, hooks) => {
    const { consolidate } = await import('../recipes/llm/publish/consolidate.js');
    return await consolidate(run, { model, data, evaluation }, hooks);
  },
};

/** Loads the code of every step, the first ones first, so that no step waits for it. */
export async function preloadSteps(): Promise<void> {
  await import('../recipes/admission.js');
  await import('../recipes/llm/prepare/prepare_data.js');
  await import('../recipes/index.js');
}
