/** The operator's configuration: which file it is, and what was seen and not loaded. */

import { firstLine } from '../../shared/format.js';
import { loadInstallation } from '../../shared/installation.js';
import { type Finding, fail, ok, warn } from './finding.js';

export async function checkConfiguration(): Promise<{
  configuration: Finding;
  storageRoots: readonly string[] | null;
}> {
  const name = 'configuration';
  try {
    const { config, file, passedOver } = await loadInstallation();
    const source = file ?? 'defaults';
    const configuration =
      passedOver.length === 0
        ? ok(name, source)
        : warn(
            name,
            `${source}; ${passedOver.join('; ')}`,
            'correct its owner and mode, or set TEMPER_CONFIG to it',
          );
    return { configuration, storageRoots: config.storageRoots };
  } catch (error) {
    return {
      configuration: fail(name, firstLine(error), 'correct the file, or set TEMPER_CONFIG to another one'),
      storageRoots: null,
    };
  }
}
