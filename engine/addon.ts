/** Loads build/temper.node, once, when it is first needed. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { EngineError } from '../shared/errors.js';
import type { NativeModule } from './native.js';

const addonFile = fileURLToPath(new URL('../../build/temper.node', import.meta.url));

let loaded: NativeModule | null = null;

/** The native module. Throws EngineError when it has not been built or does not fit this system. */
export function addon(): NativeModule {
  loaded ??= load();
  return loaded;
}

function load(): NativeModule {
  if (!existsSync(addonFile)) {
    throw new EngineError(
      `the native engine has not been built (${addonFile} is missing): run \`npm run setup\``,
    );
  }
  try {
    return createRequire(import.meta.url)(addonFile) as NativeModule;
  } catch (error) {
    throw new EngineError(
      `the native engine ${addonFile} cannot be loaded (${(error as Error).message}): run \`npm run setup\` to build it for this system`,
      { cause: error },
    );
  }
}
