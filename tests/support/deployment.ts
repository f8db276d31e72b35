/** A small real deployment for tests: server, control worker and host worker in processes of their own, tiny runs. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import {
  defaultTaskQueue,
  type FinetuneResult,
  queryNames,
  type RunPhase,
  type RunStatus,
  type TimelineEntry,
  workflowType,
} from '../../contracts/index.js';
import { TestServer } from './temporal_server.js';
import { writeTinyModel } from './tiny_model.js';
import { until } from './until.js';
import { TestWorker } from './worker_process.js';

/** Two epochs of this many steps. */
export const stepsOfEpoch = 20;

export interface Ending {
  result: FinetuneResult;
  /** Loss by step. */
  losses: Map<number, number>;
  /** sha256 of the published weights. */
  weights: string;
}

/** Expects a run to end with the losses of another one and, bit for bit, with its weights. */
export function expectSameEnd({ losses, weights }: Ending, expected: Ending): void {
  expect(losses).toEqual(expected.losses);
  expect(weights).toBe(expected.weights);
}

export class Deployment {
  readonly #connection: Connection;
  readonly #environment: Record<string, string>;

  private constructor(
    readonly folder: string,
    readonly server: TestServer,
    connection: Connection,
    readonly client: Client,
    environment: Record<string, string>,
    public control: TestWorker,
    public host: TestWorker,
  ) {
    this.#connection = connection;
    this.#environment = environment;
  }

  /** @param environment added to that of both workers */
  static async start(environment: Record<string, string> = {}): Promise<Deployment> {
    const folder = await mkdtemp(path.join(tmpdir(), 'temper-deployment-'));
    await writeTinyModel(path.join(folder, 'model'));
    const server = await TestServer.start();
    const connection = await Connection.connect({ address: server.address });
    const worker = (role: 'control' | 'host') => Deployment.#worker(folder, server, role, environment);
    const [control, host] = await Promise.all([worker('control'), worker('host')]);
    const client = new Client({ connection });
    return new Deployment(folder, server, connection, client, environment, control, host);
  }

  /** Returns the environment of a worker of this deployment that is started by other means. */
  get workerEnvironment(): Record<string, string> {
    return {
      ...Deployment.#environmentIn(this.folder),
      ...this.#environment,
      TEMPORAL_ADDRESS: this.server.address,
    };
  }

  /** One thread: several deployments may share the machine. */
  static readonly #environmentIn = (folder: string): Record<string, string> => ({
    TEMPER_CACHE: path.join(folder, 'cache'),
    TEMPER_RUNTIME: path.join(folder, 'runtime'),
    TEMPER_THREADS: '1',
  });

  static #worker(
    folder: string,
    server: TestServer,
    role: 'control' | 'host',
    environment: Record<string, string>,
    wrapper: readonly string[] = [],
  ): Promise<TestWorker> {
    const workerEnvironment = { ...Deployment.#environmentIn(folder), ...environment };
    return TestWorker.start(
      role,
      server.address,
      path.join(folder, `${role}.log`),
      workerEnvironment,
      wrapper,
    );
  }

  /** Starts a worker of that role, by `wrapper` if any, instead of the one that ended. */
  async restart(role: 'control' | 'host', wrapper: readonly string[] = []): Promise<void> {
    this[role] = await Deployment.#worker(this.folder, this.server, role, this.#environment, wrapper);
  }

  /** Stops the host worker, and starts another one in a changed environment. */
  async replaceHost(environment: Record<string, string>): Promise<void> {
    await this.host.stop();
    const changed = { ...this.#environment, ...environment };
    this.host = await Deployment.#worker(this.folder, this.server, 'host', changed);
  }

  /** Starts one more host worker. */
  async startAnotherHost(): Promise<TestWorker> {
    return Deployment.#worker(this.folder, this.server, 'host', this.#environment);
  }

  async stop(): Promise<void> {
    await Promise.all([this.control.stop(), this.host.stop()]);
    await this.#connection.close();
    await this.server.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Returns a recipe of two epochs on random packs. */
  recipe(name: string): Record<string, unknown> {
    return {
      name,
      model: { name: path.join(this.folder, 'model') },
      data: {
        train: { dataset_type: 'mock_packed', packs: 4 * stepsOfEpoch },
        packed_sequence_size: 256,
        batch_size: { global: 4, micro: 1 },
      },
      training: { num_epochs: 2, precision: 'fp32', learning_rate: 1e-3 },
      checkpoint: { every_steps: 5 },
      output_dir: path.join(this.folder, name),
    };
  }

  run(name: string, change: Record<string, unknown> = {}): Promise<WorkflowHandle> {
    const args = [{ ...this.recipe(name), ...change }];
    return this.client.workflow.start(workflowType, { taskQueue: defaultTaskQueue, workflowId: name, args });
  }

  /** Waits for the end, and checks that the metrics hold each step once. */
  async awaitEnding(handle: WorkflowHandle): Promise<Ending> {
    const result = (await handle.result()) as FinetuneResult;
    const lines = (await readFile(path.join(result.outputDir, 'metrics.jsonl'), 'utf8')).trim().split('\n');
    const steps = lines.map((line) => JSON.parse(line)).filter((line) => 'loss' in line);
    expect(steps.map(({ step }) => step)).toEqual(
      Array.from({ length: 2 * stepsOfEpoch }, (_, index) => index + 1),
    );
    const weights = await readFile(path.join(result.model, 'model.safetensors'));
    return {
      result,
      losses: new Map(steps.map(({ step, loss }) => [step, loss])),
      weights: createHash('sha256').update(weights).digest('hex'),
    };
  }

  /** Waits until the generation has written so many lines of metrics. */
  async untilLines(name: string, generation: number, lines: number): Promise<void> {
    const folder = path.join(this.folder, name);
    const what = `${lines} lines of metrics of ${name}, generation ${generation}`;
    await until(what, async () => (await countMetricsLines(folder, generation)) >= lines);
  }

  async untilPhase(handle: WorkflowHandle, expected: RunPhase): Promise<void> {
    const status = () => handle.query<RunStatus>(queryNames.progress);
    await until(`phase ${expected} of ${handle.workflowId}`, async () => (await status()).phase === expected);
  }

  /** Returns the process ids of the host worker's children that run this program. */
  children(program: 'rank.js' | 'step.js'): number[] {
    const processList = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(this.host.child.pid)], {
      encoding: 'utf8',
    });
    return processList
      .split('\n')
      .filter((line) => line.endsWith(`/${program}`))
      .map((line) => Number.parseInt(line, 10));
  }

  ranks(): number[] {
    return this.children('rank.js');
  }
}

/** Returns how many lines of metrics a generation, or with null any generation, has written to a run's folder. */
export async function countMetricsLines(folder: string, generation: number | null): Promise<number> {
  const text = await readFile(path.join(folder, 'metrics.jsonl'), 'utf8').catch(() => '');
  return text.split(new RegExp(`"generation":${generation ?? '\\d+'}\\b`)).length - 1;
}

export function interruptions({ timeline }: FinetuneResult): TimelineEntry[] {
  return timeline.filter(({ event }) => /lost|preempted|error/.test(event));
}
