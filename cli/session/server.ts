/** The Temporal server of a command: the one that environment or profile names, otherwise an embedded one. */
import path from 'node:path';
import { loadInstallation, type TemperConfig } from '../../shared/installation.js';
import { resolveRoots } from '../../shared/storage/index.js';
import { type Connected, connect, installRuntime, useDevServer } from '../../workers/index.js';

export interface Session extends Connected {
  config: TemperConfig;
  /** True when the server is this user's embedded one. */
  embedded: boolean;
  /** Address of the embedded server's web UI. */
  ui: string | null;
  close(): Promise<void>;
}

/**
 * Connects; starts or joins the embedded server where nothing names another.
 * @param log receives notices about the embedded server
 * @throws ServiceUnavailable
 */
export async function openSession(log: (text: string) => void): Promise<Session> {
  const { config } = await loadInstallation();
  installRuntime(config);
  // An empty variable counts as none, as in a shell script that clears it.
  if (config.connection().connectionOptions.address) {
    const connected = await connect(config, null);
    return { ...connected, config, embedded: false, ui: null, close: () => connected.connection.close() };
  }
  const server = await useDevServer(path.join(resolveRoots(null).cache, 'server'), log);
  try {
    const connected = await connect(config, server.address);
    const close = async () => {
      await connected.connection.close();
      await server.release();
    };
    return { ...connected, config, embedded: true, ui: server.ui, close };
  } catch (error) {
    await server.release();
    throw error;
  }
}
