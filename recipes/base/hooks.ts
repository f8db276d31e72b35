/** How a long step tells its caller that it lives, and hears that it should stop. */
export interface StepHooks {
  /** `fraction` from 0 to 1, or null where the end is not known; `text` for people. */
  progress(fraction: number | null, text: string): void;
  signal: AbortSignal;
}
