/**
 * What a signal does to a worker's process: the first one has it drain, commit and stop. Handlers stay in place, because
 * Slurm and people send more than one, and a second one must not kill a save. SIGUSR2 is Slurm's notice.
 */
export const stopSignals = ['SIGTERM', 'SIGINT', 'SIGUSR2'] as const;
export type StopSignal = (typeof stopSignals)[number];

/** Calls `stop` at the first signal. Returns a function that takes the handlers away. */
export function onStopSignal(stop: (signal: StopSignal) => void): () => void {
  let stopping = false;
  const handlers = stopSignals.map((signal) => {
    const handler = () => {
      if (stopping) return;
      stopping = true;
      stop(signal);
    };
    process.on(signal, handler);
    return [signal, handler] as const;
  });
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}
