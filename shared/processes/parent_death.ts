/** Ties a child process to its parent by the kernel, which needs no event loop of the child. */
import { loadAddon } from '../addon.js';

/**
 * Has the kernel end this process with SIGKILL when its parent ends, also while it is stopped or blocked (Linux's
 * PR_SET_PDEATHSIG). Call it first in a child process. Returns false where the system cannot, or the addon is not built:
 * there only the closing of the channel to the parent ends the child.
 */
export function endWithParent(): boolean {
  try {
    return (loadAddon() as { endWithParent(): boolean }).endWithParent();
  } catch {
    return false;
  }
}
