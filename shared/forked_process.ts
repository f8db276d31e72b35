/**
 * For a process that was forked to hold native code for its parent: leaves signals to the parent, who decides what one to
 * the process group means, and dies with it, at once and whatever is being done.
 */
export function liveForParent(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR2', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
}
