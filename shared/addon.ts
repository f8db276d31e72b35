/** Loads build/temper.node, the native addon, once in a process. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { EngineError } from './errors.js';

const addonFile = fileURLToPath(new URL('../../build/temper.node', import.meta.url));

/** Returns the native module. @throws EngineError when it has not been built or does not fit this system */
export function loadAddon(): unknown {
  if (!existsSync(addonFile)) {
    throw new EngineError(
      `the native engine has not been built (${addonFile} is missing): run \`npm run setup\``,
    );
  }
  try {
    return createRequire(import.meta.url)(addonFile);
  } catch (error) {
    throw new EngineError(
      `the native engine ${addonFile} cannot be loaded (${(error as Error).message}): run \`npm run setup\` to build it for this system`,
      { cause: error },
    );
  }
}
