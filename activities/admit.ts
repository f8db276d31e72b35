/** Before step 1: validates the input, claims the run's folder, and says who the run is. */
import { Context } from '@temporalio/activity';
import { type Admission, admissionSchema, type ControlActivities } from '../contracts/index.js';
import { runBriefly, type StepRunner } from './step.js';

export interface AdmitOptions {
  /** Storage roots of this worker; null when its user's permissions are the only bound. */
  roots: readonly string[] | null;
  /** True when the namespace has Temper's search attributes. */
  searchAttributes: boolean;
  server: { address: string; namespaceId: string };
}

export function createAdmit(
  { roots, searchAttributes, server }: AdmitOptions,
  compute: StepRunner,
): Pick<ControlActivities, 'admit'> {
  return {
    admit: (input: unknown): Promise<Admission> =>
      runBriefly(async (hooks) => {
        const { workflowExecution, workflowNamespace } = Context.current().info;
        const info = {
          workflowId: workflowExecution!.workflowId,
          runId: workflowExecution!.runId,
          namespace: workflowNamespace!,
          server,
          roots,
        };
        const admitted = await compute('admit', { input, info }, hooks);
        return admissionSchema.parse({ admitted, searchAttributes, claim: workflowExecution!.runId });
      }),
  };
}
