/**
 * Signals that end a worker or a run in order: the first one has it drain, commit and stop. Handlers stay in place,
 * because Slurm and people send more than one, and a second one must not kill a save. SIGUSR2 is Slurm's notice, SIGHUP
 * a closed terminal's.
 */
export const stopSignals = ['SIGTERM', 'SIGINT', 'SIGUSR2', 'SIGHUP'] as const;
export type StopSignal = (typeof stopSignals)[number];

/** Calls `stop` at the first signal. Returns a function that removes the handlers: call it when nothing is left to save. */
export function onStopSignal(stop: (signal: StopSignal) => void): () => void {
  let isStopping = false;
  const handlers = stopSignals.map((signal) => {
    const handler = () => {
      if (isStopping) return;
      isStopping = true;
      stop(signal);
    };
    process.on(signal, handler);
    return [signal, handler] as const;
  });
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}
