/** A long step's link to its caller: progress one way, cancellation the other. */
export interface StepHooks {
  /** `fraction` from 0 to 1, or null when the end is not known; `text` for people. */
  progress(fraction: number | null, text: string): void;
  signal: AbortSignal;
}

/**
 * Returns the same hooks, but for progress that throws the signal's reason once it is aborted: long work ends where it
 * reports its progress.
 */
export function stoppable({ progress, signal }: StepHooks): StepHooks {
  return {
    signal,
    progress: (fraction, text) => {
      signal.throwIfAborted();
      progress(fraction, text);
    },
  };
}
