/** The name under which a worker polls: readable, and enough to tell whether its process still runs. */
import { hostname } from 'node:os';
import { ownProcessTag, type ProcessState, taggedProcessState } from '../../shared/process_identity.js';

/** Returns a worker's identity, `<pid>@<host> <process tag>`. */
export function workerIdentity(): string {
  return `${process.pid}@${hostname()} ${ownProcessTag()}`;
}

/** Returns the state of a worker's process by its identity; `unknown` for workers of other programs. */
export function workerState(identity: string): ProcessState {
  return taggedProcessState(identity.split(' ').at(-1)!);
}
