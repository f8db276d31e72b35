import { defineConfig } from './shared/installation.js';

export default defineConfig({
  // Where Temporal is comes from TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS…, or a profile of
  // TEMPORAL_CONFIG_FILE that TEMPORAL_PROFILE names: the variables that Temporal's own tools read.
  taskQueue: 'temper',
  pool: 'default',
  // Folders and s3:// prefixes that recipes may read and write, e.g. ['/data', 's3://bucket/runs']. Null: no bound but
  // the user's permissions. TEMPER_ROOTS takes precedence.
  storageRoots: null,
  worker: { maxCachedWorkflows: 200, maxConcurrentSteps: 2 },
  // prometheus: '0.0.0.0:9464' serves the SDK's metrics.
  telemetry: { prometheus: null },
  // Register dataset types, tasks, losses, optimizers, ops, model families, loggers and commands of your own here.
  register() {},
});
