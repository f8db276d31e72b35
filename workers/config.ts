/** `temporal.config.ts`: where Temporal is, how workers serve it, and what an operator adds. */
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { z } from 'zod';
import { defaultTaskQueue } from '../contracts/index.js';
import { UsageError } from '../shared/errors.js';

const configSchema = z.strictObject({
  /** Address, TLS and credentials; the standard TEMPORAL_* variables and profiles by default. */
  connection: z
    .custom<typeof loadClientConnectConfig>((value) => typeof value === 'function')
    .default(() => loadClientConnectConfig),
  /** Null: what the environment or the profile says, else `default`. */
  namespace: z.string().min(1).nullable().default(null),
  taskQueue: z.string().min(1).default(defaultTaskQueue),
  /** Pool that this machine's host worker joins unless told otherwise. */
  pool: z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/)
    .default('default'),
  /** Storage roots, unless TEMPER_ROOTS names them. Null: whatever the worker's user may touch. */
  storageRoots: z.array(z.string().min(1)).nullable().default(null),
  worker: z
    .strictObject({
      /** Runs whose state is kept in memory between their workflow tasks. */
      maxCachedWorkflows: z.int().min(1).default(200),
      /** Data, model, evaluation and consolidation steps that one host runs at a time. */
      maxConcurrentSteps: z.int().min(1).default(2),
    })
    .prefault({}),
  telemetry: z
    .strictObject({
      /** `host:port` of a Prometheus endpoint for the SDK's metrics; null for none. */
      prometheus: z.string().nullable().default(null),
    })
    .prefault({}),
  /** Registers model families, datasets and the like; called once in every process that runs recipes. */
  register: z
    .custom<() => void | Promise<void>>((value) => typeof value === 'function')
    .default(() => () => {}),
});

export type TemperConfig = z.infer<typeof configSchema>;
export type TemperConfigInput = z.input<typeof configSchema>;

/** Types and checks the default export of `temporal.config.ts`. */
export function defineConfig(config: TemperConfigInput): TemperConfig {
  const parsed = configSchema.safeParse(config);
  if (!parsed.success) throw new UsageError(`temporal.config.ts: ${z.prettifyError(parsed.error)}`);
  const { register } = parsed.data;
  let registered: Promise<void> | null = null;
  const once = async () => register();
  return {
    ...parsed.data,
    // A command and the worker that it starts in place both ask for it.
    register: () => {
      registered ??= once();
      return registered;
    },
  };
}
