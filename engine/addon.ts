/** The native module, loaded when it is first needed. */
import { loadAddon } from '../shared/addon.js';
import type { NativeModule } from './native.js';

let loaded: NativeModule | null = null;

/** Returns the native module. @throws EngineError when it has not been built or does not fit this system */
export function addon(): NativeModule {
  loaded ??= loadAddon() as NativeModule;
  return loaded;
}
