import { sha256 } from '../../shared/digest.js';

/**
 * The random stream (`site`) that belongs to a name, 31 bits of its hash. What is drawn for one parameter or module does
 * not depend on which others there are.
 */
export function randomStream(name: string): number {
  return Number.parseInt(sha256(name).slice(0, 8), 16) >>> 1;
}
