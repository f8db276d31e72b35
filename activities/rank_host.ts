/** The part of a host worker that the gang's activities use: it owns the devices and the ranks' processes. */
import type {
  AcquireRequest,
  ControlMessage,
  EpochOutcome,
  Grant,
  Progress,
  TrainRequest,
} from '../contracts/index.js';

export type ProgressListener = (progress: Progress) => void;

export interface RankHost {
  /**
   * Takes a free device for the run and returns the gang's only member: this host. Asked again for the same run before
   * it began to train, it answers with what it gave before. Throws NoFreeSlot, and HostAvoided when the request prefers
   * another host and there is one.
   */
  reserve(request: AcquireRequest): Promise<Grant>;
  /**
   * Takes up the run's epoch, or finds it under way. The promise settles when the epoch ended, when a `detach` or a newer `train` came, or
   * when the rank failed (TemperError with the rank's code) or was lost (RankLost).
   */
  train(request: TrainRequest, listener: ProgressListener): Promise<EpochOutcome | 'detached'>;
  /** Passes requests on to the ranks. Throws LeaseLost when the grant is not held. */
  control(message: ControlMessage): void;
  detach(grant: Grant): void;
  /** Stops after the step under way and commits; `train` then settles with `preempted`. */
  preempt(grant: Grant): void;
  /**
   * Nobody waits for the gang any more: it trains on until its workflow takes it up again, or is found to have ended.
   * Nothing happens when a newer `train`, with another listener, has taken it up already.
   */
  orphan(grant: Grant, listener: ProgressListener): void;
  /**
   * Ends the rank and frees its device. Returns false when its process is still there: the device stays quarantined until
   * it is gone. Nothing happens when another generation holds the device.
   */
  release(grant: Grant): Promise<boolean>;
}
