/**
 * Records the golden histories that replay.test.ts replays: `npm run build && node
 * dist/tests/unit/workflows/finetune/make_histories.js`. Histories that exist are left unchanged: runs of that age may still be under way, so a change of the workflow that breaks one needs `patched`, not another history.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ApplicationFailure, type WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import {
  type Admission,
  type EpochEvaluation,
  failureTypes,
  type LossDetails,
  signalNames,
} from '../../../../contracts/index.js';
import { findTemporalCli } from '../../../../workers/embedded_server/server_process.js';
import {
  admit,
  hostQueue,
  outcome,
  progress,
  ScriptedGang,
  type TrainScript,
  untilCancelled,
} from '../../../support/scripted_gang.js';
import { TestServer } from '../../../support/temporal_server.js';

const folder = path.resolve(import.meta.dirname, '../../../../../tests/unit/workflows/finetune/histories');

interface Story {
  script: TrainScript;
  admission?: () => Promise<Admission>;
  evaluations?: EpochEvaluation[];
  /** See ScriptedGang.failures. */
  failures?: Record<string, unknown[]>;
  /** Sends the signals that the story is about. */
  act?(handle: WorkflowHandleWithFirstExecutionRunId, gang: ScriptedGang): Promise<void>;
  /** Run ids to record; the workflow's last one by default. */
  runs?(handle: WorkflowHandleWithFirstExecutionRunId): (string | undefined)[];
}

async function untilTraining(gang: ScriptedGang, calls = 1): Promise<void> {
  while (gang.requests.length < calls) await new Promise((resolve) => setTimeout(resolve, 20));
}

const finish = async () => outcome('finished', 10);

const stories: Record<string, Story> = {
  completed: { script: [async () => outcome('epoch', 5), finish] },
  evaluated_epochs: {
    script: [async () => outcome('epoch', 5), finish],
    admission: async () => admit(true, true),
    evaluations: [
      { scores: { 'facts/valid_json': 0.25 }, stop: null, damage: [] },
      { scores: { 'facts/valid_json': 0.5 }, stop: null, damage: [] },
    ],
  },
  preempted: { script: [async () => outcome('preempted', 3), finish] },
  rank_lost: {
    script: [
      async ({ grant }) => {
        const lastProgress = progress(grant.generation, 4, { committedStep: 2 });
        const details: LossDetails = { version: 1, silentFor: 0, ended: 'killed', progress: lastProgress };
        throw ApplicationFailure.create({
          message: 'killed',
          type: failureTypes.rankLost,
          details: [details],
        });
      },
      finish,
    ],
  },
  host_lost: {
    script: [
      async (_request, context) => {
        await context.sleep('5 seconds').catch(() => undefined);
        return outcome('preempted', 1);
      },
      finish,
    ],
    async act(handle, gang) {
      await untilTraining(gang);
      const hostLost = {
        version: 1,
        queue: hostQueue,
        silentFor: 1,
        step: 3,
        detail: 'killed',
      };
      await handle.signal(signalNames.hostLost, hostLost);
    },
  },
  failed: {
    script: [
      async () => {
        throw ApplicationFailure.nonRetryable('row 3 has no column text', 'DataError');
      },
    ],
  },
  paused_and_stopped: {
    script: [
      async (_request, _context, gang) => {
        while (!gang.calls.includes('control stopping, checkpoint 1'))
          await new Promise((resolve) => setTimeout(resolve, 20));
        return outcome('stopped', 4);
      },
    ],
    async act(handle, gang) {
      await untilTraining(gang);
      await handle.signal(signalNames.pause);
      await handle.signal(signalNames.resume);
      await handle.signal(signalNames.checkpointNow);
      await handle.signal(signalNames.report, progress(1, 3));
      await handle.signal(signalNames.stop);
    },
  },
  paused_while_waiting: {
    script: [finish],
    async act(handle, gang) {
      let grant = () => {};
      gang.slot = new Promise<void>((resolve) => {
        grant = resolve;
      });
      while (!gang.calls.includes('acquire 1')) await new Promise((resolve) => setTimeout(resolve, 5));
      await handle.signal(signalNames.pause);
      grant();
      await untilTraining(gang);
    },
  },
  stop_delivered_again: {
    script: [
      async (_request, _context, gang) => {
        const countDeliveries = () => gang.calls.filter((call) => call === 'control stopping').length;
        while (countDeliveries() < 2) await new Promise((resolve) => setTimeout(resolve, 20));
        return outcome('stopped', 4);
      },
    ],
    failures: { control: [ApplicationFailure.nonRetryable('the host does not answer')] },
    async act(handle, gang) {
      await untilTraining(gang);
      await handle.signal(signalNames.stop);
    },
  },
  preempted_often: {
    script: [...Array.from({ length: 60 }, () => async () => outcome('preempted', 3)), finish],
  },
  cancelled: {
    script: [
      async (_request, context) => {
        await untilCancelled(context);
        return outcome('preempted', 6);
      },
    ],
    async act(handle, gang) {
      await untilTraining(gang);
      await handle.cancel();
    },
  },
  continued: {
    script: [
      async ({ grant }, context, gang) => {
        const detached = new Promise<void>((resolve) => {
          gang.detached = resolve;
        });
        let isAttached = true;
        void detached.then(() => {
          isAttached = false;
        });
        const handle = gang.client.workflow.getHandle(context.info.workflowExecution!.workflowId);
        for (let step = 1; isAttached; step += 1) {
          await handle.signal(signalNames.report, progress(grant.generation, step));
          await new Promise((resolve) => setTimeout(resolve, 30));
        }
        return { kind: 'detached' };
      },
      finish,
    ],
    runs: (handle) => [handle.firstExecutionRunId, undefined],
  },
};

const server = await TestServer.start(['limit.historyCount.suggestContinueAsNew=60']);
const gang = await ScriptedGang.start(server.address);
await mkdir(folder, { recursive: true });
for (const [name, { script, act, runs, admission, evaluations, failures }] of Object.entries(stories)) {
  const files = (runs === undefined ? [name] : [`${name}_1`, `${name}_2`]).map((stem) =>
    path.join(folder, `${stem}.json`),
  );
  if (files.every((file) => existsSync(file))) continue;
  gang.follow(script, admission);
  gang.evaluations = [...(evaluations ?? [])];
  gang.failures = failures ?? {};
  const handle = await gang.start();
  await act?.(handle, gang);
  await handle.result().catch(() => undefined);
  for (const [index, runId] of (runs?.(handle) ?? [undefined]).entries()) {
    const which = ['--workflow-id', handle.workflowId, ...(runId === undefined ? [] : ['--run-id', runId])];
    const show = ['workflow', 'show', '--address', server.address, ...which, '--output', 'json'];
    // Stack traces hold the paths of the machine that made the history; replay does not read them.
    const history = JSON.parse(
      execFileSync(findTemporalCli(), show, { encoding: 'utf8' }),
      (key, value: unknown) => (key === 'stackTrace' ? '' : value),
    ) as unknown;
    await writeFile(files[index]!, `${JSON.stringify(history, null, 2)}\n`);
    process.stdout.write(`${path.relative(process.cwd(), files[index]!)}\n`);
  }
}
await gang.stop();
await server.stop();
