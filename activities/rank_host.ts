/** What the gang's activities need of the host worker they run in, which owns the devices and the ranks' processes. */
import type {
  ControlMessage,
  EpochOutcome,
  Grant,
  Progress,
  RunReference,
  TrainRequest,
} from '../contracts/index.js';

export type ProgressListener = (progress: Progress) => void;

export interface RankHost {
  /**
   * Takes a free device for the run and returns the gang's only member: this host. Asked again for the same run before
   * it began to train, it answers with what it gave before. Throws NoFreeSlot.
   */
  reserve(run: RunReference): Promise<Grant>;
  /**
   * Takes up the run's epoch, or finds it under way. The promise settles when the epoch ended, when a `detach` or a newer `train` came, or
   * when the rank failed (TemperError with the rank's code) or died (RankLost).
   */
  train(request: TrainRequest, listener: ProgressListener): Promise<EpochOutcome | 'detached'>;
  control(message: ControlMessage): void;
  detach(grant: Grant): void;
  /** Stops after the step under way and commits; `train` then settles with `preempted`. */
  preempt(grant: Grant): void;
  /**
   * Nobody waits for the gang any more: it trains on for as long as a slot is kept for a silent workflow. Nothing happens
   * when a newer `train`, with another listener, has taken the gang up again.
   */
  orphan(grant: Grant, listener: ProgressListener): void;
  /** Ends the rank and frees its device. Nothing happens when another generation holds it. */
  release(grant: Grant): Promise<void>;
}
