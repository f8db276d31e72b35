/** The one connection of a process to Temporal, for its workers and its client alike. */
import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { ServiceUnavailable } from '../../shared/errors.js';
import { firstLine } from '../../shared/format.js';
import type { TemperConfig } from '../../shared/installation.js';
import { speaksTls, tlsRemedy } from './tls_probe.js';

export interface Connected {
  connection: NativeConnection;
  client: Client;
  address: string;
  namespace: string;
  /** The namespace's own id. */
  namespaceId: string;
}

/** ms for which a server that does not answer yet is tried again. */
const patience = 10_000;

/**
 * Connects to `address`, or to what the configuration names.
 * @throws ServiceUnavailable when nobody answers, or the namespace does not exist
 */
export async function connect(config: TemperConfig, address: string | null): Promise<Connected> {
  const { connectionOptions, namespace: named } = config.connection();
  const options = { ...connectionOptions, ...(address === null ? {} : { address }) };
  const target = options.address ?? 'localhost:7233';
  const namespace = config.namespace ?? named ?? 'default';
  for (const deadline = Date.now() + patience; ; ) {
    try {
      const connection = await NativeConnection.connect(options);
      const client = new Client({ connection, namespace });
      const { namespaceInfo } = await client.workflowService.describeNamespace({ namespace });
      return { connection, client, address: target, namespace, namespaceId: namespaceInfo?.id ?? namespace };
    } catch (cause) {
      if (Date.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        continue;
      }
      const wantsTls = !options.tls && (await speaksTls(target));
      const remedy = wantsTls
        ? tlsRemedy
        : "start one with 'temporal server start-dev', or set TEMPORAL_ADDRESS";
      throw new ServiceUnavailable(
        `no Temporal server answers at ${target} (namespace '${namespace}'): ${firstLine(cause)}; ${remedy}`,
        { cause },
      );
    }
  }
}
