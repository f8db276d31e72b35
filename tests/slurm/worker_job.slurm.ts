/**
 * infra/slurm/worker.sbatch on a real Slurm: a run whose only host is a job survives the job's time limit and its
 * preemption, and ends with the weights, bit for bit, of an undisturbed run. `npm run test:slurm`
 */
import path from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { Deployment, type Ending, expectSameEnd, interruptions } from '../support/deployment.js';
import { until } from '../support/until.js';
import { SlurmCluster } from './slurm_cluster.js';

let cluster: SlurmCluster;
let deployment: Deployment;
let undisturbed: Ending;

beforeAll(async () => {
  cluster = await SlurmCluster.start();
  deployment = await Deployment.start();
  undisturbed = await deployment.awaitEnding(await start('undisturbed'));
  await deployment.host.stop();
}, 600_000);

afterEach(() => cluster.cancelAll());

afterAll(async () => {
  await cluster.stop();
  await deployment.stop();
}, 120_000);

/** Starts a run whose steps take long enough for Slurm's signals to come in the middle. */
function start(name: string) {
  const data = deployment.recipe(name).data as Record<string, unknown>;
  return deployment.run(name, { data: { ...data, packed_sequence_size: 4096 } });
}

/** Offers the node to the runs of the deployment. */
function submitWorker(name: string, options: readonly string[]): string {
  const log = `--output=${path.join(deployment.folder, `${name}.log`)}`;
  const script = path.resolve('infra/slurm/worker.sbatch');
  return cluster.submit([log, '--cpus-per-task=1', ...options, script], deployment.workerEnvironment);
}

/** Expects the run to end as if nothing had happened, with one interruption that lost no step. */
async function expectPreempted(handle: WorkflowHandle): Promise<void> {
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toMatchObject([
    { event: 'preempted', exactness: 'bitwise', stepsLost: 0 },
  ]);
}

test('a job near its time limit saves the run and queues itself again, and the run continues in it', async () => {
  // Slurm looks at time limits about twice a minute, and counts minutes.
  const job = submitWorker('limit', ['--time=2', '--signal=USR2@90']);
  const handle = await start('limit');
  await until('the job to be queued again', () => cluster.field(job, 'Restarts') === '1');
  // Otherwise the job's second time limit may come before the end of the run.
  await until('its second start', () => cluster.field(job, 'JobState') === 'RUNNING');
  cluster.call('scontrol', ['update', `JobId=${job}`, 'TimeLimit=60']);
  await expectPreempted(handle);
}, 600_000);

test('a worker job preempted by one of higher priority is queued again, and no step is lost', async () => {
  const job = submitWorker('preempted', ['--partition=low']);
  const handle = await start('preempted');
  await deployment.untilLines('preempted', 1, 3);
  cluster.submit(['--partition=high', '--exclusive', '--wrap=true', '--output=/dev/null']);
  await expectPreempted(handle);
  expect(cluster.field(job, 'Restarts')).toBe('1');
}, 600_000);

test('a run whose job is canceled waits for a host, and continues in the next job', async () => {
  const canceledJob = submitWorker('canceled', []);
  const handle = await start('canceled');
  await deployment.untilLines('canceled', 1, 3);
  cluster.call('scancel', [canceledJob]);
  submitWorker('next', []);
  await expectPreempted(handle);
}, 600_000);
