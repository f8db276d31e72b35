/** The processes in which a worker has its steps computed, so that no input of a run can stop or end the worker. */
import { hostname } from 'node:os';
import { ProcessCrashed, type StepRunner } from '../../activities/index.js';
import { type StepCommand, type StepEvent, type StepName, stepEventSchema } from '../../contracts/index.js';
import { memoryLimit, parseDevice } from '../../engine/index.js';
import type { StepHooks } from '../../recipes/index.js';
import { canonicalJson, digestOf } from '../../shared/digest.js';
import type { TemperConfig } from '../../shared/installation.js';
import { type Credentials, selectCredentials } from '../../shared/processes/child_environment.js';
import { type Bounds, Conversation } from '../../shared/processes/forked_process.js';

const program = new URL('./step.js', import.meta.url);

/** ms that a cancelled step may take to clean up before its process is killed. */
const cancelGrace = 10_000;
/** Bytes; a process that has loaded every step's code takes a sixth of it. */
const smallProcess = 2 ** 28;
/** Share of the host's memory that one step may use, whatever its own bound. */
const usableShare = 0.9;

/** The process ended, and did not say why. */
class ProcessEnded extends Error {}

/**
 * Runs each step in a process of its own, and keeps one that has started and loaded its code for the next step. A process
 * whose step succeeded is that one; after a failure or a crash a new one is.
 */
export class StepProcesses {
  #spare: StepProcess | null = null;
  #closed = false;
  readonly #bounds: TemperConfig['worker']['bounds'];
  readonly #device: string;

  /** @param device that this host's ranks train on, e.g. `cpu:0` */
  constructor({ worker }: TemperConfig, device: string) {
    this.#bounds = worker.bounds;
    this.#device = device;
    this.#keepSpare();
  }

  /**
   * Computes a step.
   *
   * @throws the step's typed error; ProcessCrashed when the process was killed, aborted or exceeded its bounds; the
   * signal's reason when it was cancelled
   */
  readonly run: StepRunner = async (step, request, hooks) => {
    const process = this.#spare?.alive ? this.#spare : new StepProcess();
    this.#spare = null;
    try {
      const command = { type: 'compute', step, request, device: this.#device } as const;
      const result = await process.compute(command, this.#boundsOf(step), hooks);
      this.#putBack(process, step);
      return result as never;
    } catch (error) {
      void process.end();
      this.#keepSpare();
      if (hooks.signal.aborted) throw hooks.signal.reason;
      throw error instanceof ProcessEnded ? crash(step, request, error.message) : error;
    }
  };

  /** Ends the process that waits. Those that compute end with their steps. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#spare?.end();
  }

  #boundsOf(step: StepName): Bounds {
    const { memory, seconds } = this.#bounds[step === 'evaluateEpoch' ? 'evaluate' : step];
    return { memory: Math.min(memory ?? Number.POSITIVE_INFINITY, usableShare * memoryLimit()), seconds };
  }

  #putBack(process: StepProcess, step: StepName): void {
    const isFit = process.isSmall && !this.#loadsPlugin(step);
    if (this.#spare === null && !this.#closed && isFit) this.#spare = process;
    else {
      void process.end();
      this.#keepSpare();
    }
  }

  /** True of a step that plans for an accelerator: it loads the accelerator's backend, which an evaluation must not have. */
  #loadsPlugin(step: StepName): boolean {
    return step === 'shardModel' && parseDevice(this.#device).kind !== 'cpu';
  }

  #keepSpare(): void {
    if (this.#spare === null && !this.#closed) this.#spare = new StepProcess();
  }
}

type ComputeCommand = Extract<StepCommand, { type: 'compute' }>;

class StepProcess {
  alive = true;
  readonly #conversation = new Conversation<StepCommand, StepEvent>(
    program,
    (message) => stepEventSchema.parse(message),
    (how) => new ProcessEnded(how),
    () => {
      this.alive = false;
    },
  );

  async compute(command: ComputeCommand, bounds: Bounds, hooks: StepHooks): Promise<unknown> {
    const { process } = this.#conversation;
    let result: unknown = null;
    let timer: NodeJS.Timeout | null = null;
    const cancel = () => {
      process.send({ type: 'cancel' });
      timer = setTimeout(() => process.kill(), cancelGrace);
    };
    hooks.signal.throwIfAborted();
    const lift = process.bound(bounds);
    hooks.signal.addEventListener('abort', cancel);
    try {
      process.grant(selectCredentials(credentialsFor(command.step, command.request)));
      await this.#conversation.request(command, (event) => {
        if (event.type === 'progress') hooks.progress(event.fraction, event.text);
        else result = event.result;
        return event.type === 'done';
      });
      return result;
    } finally {
      lift();
      hooks.signal.removeEventListener('abort', cancel);
      if (timer !== null) clearTimeout(timer);
    }
  }

  /** True when it is about as small as a new process, so that the next step has its memory to itself. */
  get isSmall(): boolean {
    return (this.#conversation.process.memory ?? Number.POSITIVE_INFINITY) < smallProcess;
  }

  end(): Promise<void> {
    return this.#conversation.kill();
  }
}

/** Steps that download models from the hub, or publish there. */
const usesHub: readonly StepName[] = ['prepareData', 'shardModel', 'consolidate'];
/** Steps that read or write where the recipe says, which the request does not show. */
const readsLocations: readonly StepName[] = ['admit', 'shardModel', 'consolidate'];

/** Returns the kinds of credentials that a step's process receives with its request. */
export function credentialsFor(step: StepName, request: unknown): Credentials[] {
  const usesS3 = readsLocations.includes(step) || canonicalJson(request).includes('"s3://');
  return [...(usesHub.includes(step) ? (['hub'] as const) : []), ...(usesS3 ? (['s3'] as const) : [])];
}

function crash(step: StepName, request: unknown, ending: string): ProcessCrashed {
  return new ProcessCrashed({ version: 1, step, input: digestOf(request), ended: ending, host: hostname() });
}
