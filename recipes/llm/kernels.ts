/** What plans of this engine may hold. */
import { engineOps } from '../../engine/index.js';

/** Returns the names of the ops that the engine has kernels for; others run by their fallback. */
export const kernelsOfEngine = (): ReadonlySet<string> => new Set(engineOps().map(({ name }) => name));
