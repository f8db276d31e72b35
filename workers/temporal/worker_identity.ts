/** The name under which a worker polls: for people first, and for the question whether its process still runs. */
import { hostname } from 'node:os';
import { ownProcessTag, type ProcessState, taggedProcessState } from '../../shared/process_identity.js';

/** `<pid>@<host> <process tag>` */
export function workerIdentity(): string {
  return `${process.pid}@${hostname()} ${ownProcessTag()}`;
}

/** Judges the process of a worker by its identity; `unknown` for workers of others. */
export function workerState(identity: string): ProcessState {
  return taggedProcessState(identity.split(' ').at(-1)!);
}
