/** `temporal.config.js`: where Temporal is, how workers serve it, and what an operator adds. Every process loads it. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { loadClientConnectConfig } from '@temporalio/envconfig';
import { z } from 'zod';
import { defaultTaskQueue } from '../contracts/names.js';
import { UsageError } from './errors.js';
import { errorMessage } from './format.js';
import { type ChosenFile, chooseFile } from './installation_file.js';

/**
 * Loads Temporal's client only when it is called: child processes load the configuration, and none of them connects.
 */
const connectionOfEnvironment: typeof loadClientConnectConfig = (options) => {
  const { loadClientConnectConfig: load } = createRequire(import.meta.url)('@temporalio/envconfig') as {
    loadClientConnectConfig: typeof loadClientConnectConfig;
  };
  return load(options);
};

const gibibyte = 2 ** 30;

/** Limits for the process of one kind of step, before it is ended and its step fails as ProcessCrashed. */
const boundsOf = (memory: number | null, seconds: number) =>
  z
    .strictObject({
      /** Bytes of memory, mapped files left out and its own children included; null for no bound. */
      memory: z
        .int()
        .min(2 ** 28)
        .nullable()
        .default(memory),
      /** Seconds for which it may compute without a pause, as it does in a loop without end; null for no bound. */
      seconds: z.int().min(1).nullable().default(seconds),
    })
    .prefault({});

const configSchema = z.strictObject({
  /** Address, TLS and credentials; the standard TEMPORAL_* variables and profiles by default. */
  connection: z
    .custom<typeof loadClientConnectConfig>((value) => typeof value === 'function')
    .default(() => connectionOfEnvironment),
  /** Null: the environment's or the profile's, else `default`. */
  namespace: z.string().min(1).nullable().default(null),
  taskQueue: z.string().min(1).default(defaultTaskQueue),
  /** Pool that this machine's host worker joins unless the command line names another. */
  pool: z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/)
    .default('default'),
  /** Storage roots, unless TEMPER_ROOTS names them. Null: whatever the worker's user may touch. */
  storageRoots: z.array(z.string().min(1)).nullable().default(null),
  /** Variables that recipes may read with `${env:X}`, unless TEMPER_RECIPE_ENV lists them; `NAME_*` for all that begin so. */
  recipeEnvironment: z.array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*\*?$/)).default([]),
  worker: z
    .strictObject({
      /** Runs whose state is kept in memory between their workflow tasks. */
      maxCachedWorkflows: z.int().min(1).default(200),
      /** Data, model, evaluation and consolidation steps that one host runs at a time. */
      maxConcurrentSteps: z.int().min(1).default(2),
      /**
       * Reading a recipe takes megabytes, tokenizing and verifying one or two gigabytes. Evaluation and consolidation
       * hold what the model's own size demands, and are bounded by the machine.
       */
      bounds: z
        .strictObject({
          admit: boundsOf(gibibyte, 30),
          prepareData: boundsOf(16 * gibibyte, 300),
          shardModel: boundsOf(16 * gibibyte, 300),
          evaluate: boundsOf(null, 600),
          consolidate: boundsOf(null, 600),
        })
        .prefault({}),
    })
    .prefault({}),
  telemetry: z
    .strictObject({
      /** `host:port` of a Prometheus endpoint for the SDK's metrics; null for none. */
      prometheus: z.string().nullable().default(null),
    })
    .prefault({}),
  /** Registers whatever recipes may name, and commands; called once in every process and thread. */
  register: z
    .custom<() => void | Promise<void>>((value) => typeof value === 'function')
    .default(() => () => {}),
});

export type TemperConfig = z.infer<typeof configSchema>;
export type TemperConfigInput = z.input<typeof configSchema>;

/**
 * Types the default export of a `temporal.config.js`, and fills in its defaults.
 *
 * @throws UsageError that lists the keys that are wrong
 * @example
 * import { defineConfig } from '@temper-train/temper';
 * export default defineConfig({ pool: 'fast', storageRoots: ['/data', 's3://bucket/runs'] });
 */
export function defineConfig(config: TemperConfigInput): TemperConfig {
  const result = configSchema.safeParse(config);
  if (!result.success)
    throw new UsageError(`the configuration is not valid: ${z.prettifyError(result.error)}`);
  return result.data;
}

export interface Installation extends ChosenFile {
  config: TemperConfig;
}

let installation: Promise<Installation> | null = null;

/**
 * Loads the configuration and registers what it adds, once in a process or thread; to be called before its first work.
 * The first process decides which file that is: `TEMPER_CONFIG`, a `temporal.config.js` (or `.mjs`, or `.ts` where this
 * Node.js strips types) of the working folder or above it up to the first `package.json` or the home folder, or the
 * installation's own. Its children find the decision in `TEMPER_CONFIG`.
 *
 * @throws UsageError for a file that does not exist, cannot be loaded or is not valid
 */
export function loadInstallation(): Promise<Installation> {
  installation ??= load();
  return installation;
}

async function load(): Promise<Installation> {
  const { file, passedOver } = await chooseFile(process.cwd(), process.env);
  if (file === null) return { config: defineConfig({}), file, passedOver };
  process.env.TEMPER_CONFIG = file;
  try {
    const module = (await import(pathToFileURL(file).href)) as { default?: TemperConfigInput };
    if (typeof module.default !== 'object' || module.default === null)
      throw new UsageError('it has no default export; write: export default defineConfig({ … })');
    const config = defineConfig(module.default);
    await config.register();
    return { config, file, passedOver };
  } catch (cause) {
    throw new UsageError(`${file}: ${errorMessage(cause)}`, { cause });
  }
}
