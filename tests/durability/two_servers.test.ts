/** One run, submitted to two Temporal servers by mistake: both write to the same folder. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection, type WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import {
  defaultTaskQueue,
  type FinetuneResult,
  type Submission,
  workflowType,
} from '../../contracts/index.js';
import { countMetricsLines } from '../support/deployment.js';
import { TestServer } from '../support/temporal_server.js';
import { writeTinyModel } from '../support/tiny_model.js';
import { until } from '../support/until.js';
import { TestWorker } from '../support/worker_process.js';

interface Site {
  server: TestServer;
  worker: TestWorker;
  connection: Connection;
}

let folder: string;
const sites: Site[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-two-servers-'));
  await writeTinyModel(path.join(folder, 'model'));
  for (const name of ['first', 'second']) {
    const server = await TestServer.start();
    // Caches of their own: the two share nothing but the run's folder.
    const environment = { TEMPER_CACHE: path.join(folder, `cache-${name}`), TEMPER_THREADS: '1' };
    const log = path.join(folder, `${name}.log`);
    const worker = await TestWorker.start('all', server.address, log, environment);
    sites.push({ server, worker, connection: await Connection.connect({ address: server.address }) });
  }
}, 120_000);

afterAll(async () => {
  for (const { server, worker, connection } of sites) {
    await worker.stop();
    await connection.close();
    await server.stop();
  }
  await rm(folder, { recursive: true, force: true });
}, 120_000);

function start({ connection }: Site, { takeOver }: { takeOver: boolean }): Promise<WorkflowHandle> {
  const recipe = {
    name: 'shared',
    model: { name: path.join(folder, 'model') },
    data: {
      train: { dataset_type: 'mock_packed', packs: 80 },
      packed_sequence_size: 256,
      batch_size: { global: 4, micro: 1 },
    },
    training: { num_epochs: 20, precision: 'fp32', learning_rate: 1e-3 },
    checkpoint: { every_steps: 5 },
    output_dir: path.join(folder, 'shared'),
  };
  const submission: Submission = { version: 1, recipe, base: null, pool: null, fresh: false, takeOver };
  const options = { taskQueue: defaultTaskQueue, workflowId: 'shared', args: [submission] };
  return new Client({ connection }).workflow.start(workflowType, options);
}

test('the run that took the folder over completes, and the other one fails with an error that names it', async () => {
  const firstRun = await start(sites[0]!, { takeOver: false });
  await until('step 12', async () => (await countMetricsLines(path.join(folder, 'shared'), 1)) >= 12);
  const refusedRun = await start(sites[1]!, { takeOver: false });
  await expect(refusedRun.result()).rejects.toMatchObject({
    cause: { type: 'CheckpointError', message: expect.stringContaining('take it over with --take-over') },
  });
  const secondRun = await start(sites[1]!, { takeOver: true });
  const error = await firstRun.result().catch((thrown: unknown) => thrown);
  expect((error as WorkflowFailedError).cause).toMatchObject({
    type: 'FencedError',
    message: expect.stringContaining('workflow shared in namespace default (run '),
  });
  const result = (await secondRun.result()) as FinetuneResult;
  expect(result.state).toBe('completed');
  expect(result.interruptions).toEqual({ preempted: 0, rank_lost: 0, host_lost: 0, error_retried: 0 });
  const document = JSON.parse(await readFile(path.join(folder, 'shared', 'run.json'), 'utf8'));
  expect(document).toMatchObject({ state: 'completed', failure: null });
}, 240_000);
