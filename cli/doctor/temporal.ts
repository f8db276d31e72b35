/** The Temporal CLI, and the server that commands would use. */
import path from 'node:path';
import { Connection, type ConnectionOptions } from '@temporalio/client';
import { firstLine } from '../../shared/format.js';
import { loadInstallation, type TemperConfig } from '../../shared/installation.js';
import { findTemporalCli, speaksTls, tlsRemedy } from '../../workers/index.js';
import { type Finding, fail, ok, warn } from './finding.js';
import { output } from './machine.js';

/** ms that a server may take to answer. */
const patience = 3_000;

export async function checkTemporal(cache: string): Promise<Finding[]> {
  const name = 'temporal server';
  let options: ReturnType<TemperConfig['connection']>;
  let namespace: string;
  try {
    const { config } = await loadInstallation();
    options = config.connection();
    namespace = config.namespace ?? options.namespace ?? 'default';
  } catch (error) {
    return [
      fail(
        name,
        firstLine(error),
        'correct TEMPORAL_* in the environment, the profile, or temporal.config.ts',
      ),
    ];
  }
  const { address } = options.connectionOptions;
  if (address === undefined) {
    const embedded = `not configured; commands start an embedded server (state in ${path.join(cache, 'server')})`;
    return [await checkCli(true), ok(name, embedded)];
  }
  return [await checkCli(false), await checkServer(name, address, namespace, options.connectionOptions)];
}

async function checkCli(needed: boolean): Promise<Finding> {
  const name = 'temporal cli';
  try {
    const cli = findTemporalCli();
    const version = await output(cli, ['--version']);
    if (version !== null) return ok(name, `${version.trim().split('\n')[0]} (${cli})`);
    return (needed ? fail : warn)(name, `${cli} cannot be run`, 'reinstall it: npm run setup');
  } catch (error) {
    return needed
      ? fail(name, firstLine(error), 'npm run setup, or set TEMPORAL_ADDRESS to a running server')
      : ok(name, 'not installed; not needed when a server is configured');
  }
}

async function checkServer(
  name: string,
  address: string,
  namespace: string,
  options: ConnectionOptions,
): Promise<Finding> {
  try {
    const connection = await Connection.connect({ ...options, connectTimeout: patience });
    try {
      await connection.withDeadline(Date.now() + patience, () =>
        connection.workflowService.describeNamespace({ namespace }),
      );
      return ok(name, `${address}, namespace '${namespace}'`);
    } finally {
      await connection.close();
    }
  } catch (error) {
    if (!options.tls && (await speaksTls(address)))
      return fail(name, `${address}, namespace '${namespace}': ${firstLine(error)}`, tlsRemedy);
    return fail(
      name,
      `${address}, namespace '${namespace}': ${firstLine(error)}`,
      'start it, correct TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, or unset them to embed a server',
    );
  }
}
