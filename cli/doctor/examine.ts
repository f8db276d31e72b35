/** Everything that `temper doctor` checks. */
import { resolveRoots } from '../../shared/storage/index.js';
import { version } from '../command/version.js';
import { checkConfiguration } from './configuration.js';
import type { Finding } from './finding.js';
import { checkEngine, checkGpus, checkMemory, checkNode, checkPython } from './machine.js';
import { checkCredentials, checkStorage } from './storage.js';
import { checkTemporal } from './temporal.js';

/** Returns the findings in the order in which they are shown. Never rejects: what fails is a finding. */
export async function examine(): Promise<Finding[]> {
  const { configuration, storageRoots } = await checkConfiguration();
  const locations = resolveRoots(storageRoots);
  const parts: (Finding | Finding[] | Promise<Finding | Finding[]>)[] = [
    { name: 'temper', status: 'ok', detail: await version(), remedy: null },
    configuration,
    checkNode(),
    checkEngine(),
    checkMemory(),
    checkGpus(),
    checkTemporal(locations.cache),
    checkStorage(locations),
    checkCredentials(),
    checkPython(locations.cache),
  ];
  return (await Promise.all(parts)).flat();
}
