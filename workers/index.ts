/** `temper worker`: serves Temporal with workflows, with this machine's devices, or with both. */
import path from 'node:path';
import { DefaultLogger, type LogEntry, Runtime } from '@temporalio/worker';
import { loadInstallation, type TemperConfig } from '../shared/installation.js';
import { startControl } from './control/control.js';
import { parseDevices } from './host/devices.js';
import { Host } from './host/host.js';
import { HostReaper } from './host/reaper.js';
import { openRuntimeFolder } from './host/runtime_folder.js';
import { StepProcesses } from './processes/step_processes.js';
import { connect } from './temporal/connection.js';
import { formatNotice } from './temporal/notices.js';
import type { ServedWorker } from './temporal/served_worker.js';
import { handleUnhandledRejections } from './temporal/unhandled_rejections.js';

export { useDevServer } from './embedded_server/dev_server.js';
export { findTemporalCli } from './embedded_server/server_process.js';
export { parseDevices } from './host/devices.js';
export { onStopSignal, type StopSignal, stopSignals } from './signals.js';
export { type Connected, connect } from './temporal/connection.js';
export { speaksTls, tlsRemedy } from './temporal/tls_probe.js';
export { workerState } from './temporal/worker_identity.js';

export interface RunWorkerOptions {
  role: 'all' | 'control' | 'host';
  /** `auto` or `cpu:N`. */
  devices: string;
  /** Null: the configuration's. */
  pool: string | null;
  /** Task queue of workflows; null: the configuration's. */
  taskQueue: string | null;
  /** Null: what the configuration names. */
  address: string | null;
  /** Receives notices about workers that were replaced. */
  log: (text: string) => void;
}

export interface WorkerHandle {
  /** The host worker's own queue; null in the control role. */
  readonly queue: string | null;
  readonly address: string;
  readonly namespace: string;
  /** Ranks commit and stop, tasks in progress finish. Resolves when nothing of the worker is left; safe to call again. */
  stop(): Promise<void>;
}

/**
 * Starts the worker and returns when it serves.
 * @throws ServiceUnavailable when Temporal cannot be reached, UsageError for unknown devices
 */
export async function runWorker(options: RunWorkerOptions): Promise<WorkerHandle> {
  const devices = parseDevices(options.devices);
  const { config, file, passedOver } = await loadInstallation();
  options.log(`configuration: ${file ?? 'defaults'}`);
  for (const text of passedOver) options.log(text);
  installRuntime(config);
  handleUnhandledRejections(options.log);
  const steps = new StepProcesses(config, devices[0]!);
  try {
    return await startWorker(options, devices, config, steps);
  } catch (error) {
    await steps.close();
    throw error;
  }
}

async function startWorker(
  options: RunWorkerOptions,
  devices: readonly string[],
  config: TemperConfig,
  steps: StepProcesses,
): Promise<WorkerHandle> {
  const connected = await connect(config, options.address);
  const records = path.join(await openRuntimeFolder(), 'hosts');
  const control: ServedWorker | null =
    options.role === 'host' ? null : await startControl(connected, config, steps, options);
  const pool = options.pool ?? config.pool;
  const host =
    options.role === 'control'
      ? null
      : await Host.start(connected, config, steps, { pool, devices, records }, options.log);
  const reaper = new HostReaper(records, connected.client, connected.namespaceId);
  await reaper.open();
  let stopped: Promise<void> | null = null;
  const stop = async () => {
    reaper.close();
    // The host first: its outcomes may still need a workflow task.
    await host?.stop();
    await control?.stop();
    await steps.close();
    await connected.connection.close();
  };
  return {
    queue: host?.identity.queue ?? null,
    address: connected.address,
    namespace: connected.namespace,
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}

let installed = false;

/**
 * Installs the SDK's runtime, before the first connection and once in a process. The SDK's own signal handlers would
 * end the process at a second signal, in the middle of a save.
 */
export function installRuntime(config: TemperConfig): void {
  if (installed) return;
  installed = true;
  const { prometheus } = config.telemetry;
  // What ranks inherit, so that their storage has the same bounds.
  if (config.storageRoots !== null) process.env.TEMPER_ROOTS ??= config.storageRoots.join(':');
  if (config.recipeEnvironment.length > 0)
    process.env.TEMPER_RECIPE_ENV ??= config.recipeEnvironment.join(',');
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', notice),
    telemetryOptions: {
      // Otherwise the SDK's native side prints by itself, on standard output.
      logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} },
      ...(prometheus === null ? {} : { metrics: { prometheus: { bindAddress: prometheus } } }),
    },
  });
}

function notice(entry: LogEntry): void {
  const line = formatNotice(entry);
  if (line !== null) process.stderr.write(`${line}\n`);
}
