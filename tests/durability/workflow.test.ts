/** Tests the workflow on its own, on a real server, with activities that follow a script. */
import { ApplicationFailure, WorkflowFailedError } from '@temporalio/client';
import { CancelledFailure } from '@temporalio/common';
import type { FinetuneResult, LossDetails, RunStatus } from '../../contracts/index.js';
import { failureTypes, queryNames, signalNames } from '../../contracts/names.js';
import {
  admit,
  hostQueue,
  outcome,
  progress,
  ScriptedGang,
  type TrainScript,
  untilCancelled,
} from '../support/scripted_gang.js';
import { TestServer } from '../support/temporal_server.js';
import { until } from '../support/until.js';

let server: TestServer;
let gang: ScriptedGang;

beforeAll(async () => {
  server = await TestServer.start(['limit.historyCount.suggestContinueAsNew=60']);
  gang = await ScriptedGang.start(server.address);
}, 60_000);
afterAll(async () => {
  await gang.stop();
  await server.stop();
});

async function run(script: TrainScript): Promise<FinetuneResult> {
  gang.follow(script);
  return (await (await gang.start()).result()) as FinetuneResult;
}

/** Returns the failure that ended the workflow. */
async function failure(script: TrainScript): Promise<Error | undefined> {
  gang.follow(script);
  const handle = await gang.start();
  const error = await handle.result().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WorkflowFailedError);
  return (error as WorkflowFailedError).cause;
}

function rankLost(generation: number, committedStep: number | null): ApplicationFailure {
  const details: LossDetails = {
    version: 1,
    silentFor: 0.1,
    ended: 'killed by SIGKILL',
    progress: progress(generation, 7, { committedStep }),
  };
  return ApplicationFailure.create({
    message: 'killed by SIGKILL',
    type: failureTypes.rankLost,
    details: [details],
  });
}

const twoEpochs: TrainScript = [async () => outcome('epoch', 5), async () => outcome('finished', 10)];

test('a run walks through its five steps on one gang', async () => {
  const result = await run(twoEpochs);
  expect(gang.calls).toEqual([
    'admit',
    'prepareData',
    'shardModel',
    'acquire 1',
    'train 0 of generation 1',
    'train 1 of generation 1',
    'release 1',
    'evaluate',
    'consolidate',
    'finish completed',
  ]);
  expect(result).toMatchObject({ state: 'completed', model: '/run/final', steps: 10 });
  expect(result.timeline.map(({ event }) => event)).toEqual([
    'admitted',
    'data_prepared',
    'model_ready',
    'gang_granted',
    'epoch_finished',
    'epoch_finished',
    'evaluated',
    'published',
  ]);
});

test('tasks are evaluated at the end of each epoch, while the gang waits', async () => {
  gang.follow(twoEpochs, async () => admit(true, true));
  gang.evaluations = [{ scores: { 'facts/valid_json': 0.25 }, stop: null, damage: [] }];
  const result = (await (await gang.start()).result()) as FinetuneResult;
  expect(gang.calls.slice(4, 9)).toEqual([
    'train 0 of generation 1',
    'evaluateEpoch 5',
    'train 1 of generation 1',
    'evaluateEpoch 10',
    'release 1',
  ]);
  // The second evaluation had no scores.
  const evaluations = result.timeline.filter(({ event }) => event === 'evaluated');
  expect(evaluations.map(({ step, detail }) => [step, detail])).toEqual([
    [5, 'facts/valid_json 0.25'],
    [10, 'commit 1'],
  ]);
});

test('an evaluation that finds no improvement ends training, and the run is published', async () => {
  gang.follow(twoEpochs, async () => admit(true, true));
  gang.evaluations = [
    { scores: { 'facts/valid_json': 0.25 }, stop: 'no improvement of facts/valid_json', damage: [] },
  ];
  const result = (await (await gang.start()).result()) as FinetuneResult;
  expect(result).toMatchObject({ state: 'completed', steps: 5 });
  expect(gang.requests).toHaveLength(1);
});

test('a preempted gang is followed by another one, and the timeline says what that cost', async () => {
  const resumed = {
    fromStep: 3,
    stepsLost: 0,
    exactness: 'bitwise',
    loadSeconds: 2,
    firstStepSeconds: 1,
    damage: [] as string[],
  } as const;
  const result = await run([
    async () => outcome('preempted', 3),
    async () => outcome('epoch', 5, { resumed }),
    async () => outcome('finished', 10),
  ]);
  expect(gang.calls.filter((call) => /acquire|train/.test(call))).toEqual([
    'acquire 1',
    'train 0 of generation 1',
    'acquire 2',
    'train 0 of generation 2',
    'train 1 of generation 2',
  ]);
  const entry = result.timeline.find(({ event }) => event === 'preempted');
  expect(entry).toMatchObject({ loadedAfter: 2, firstStepAfter: 1, stepsLost: 0, exactness: 'bitwise' });
  expect(entry!.capacityAfter).toBeGreaterThanOrEqual(0);
});

test('checkpoints that a resume passed over are in the timeline, by file and tensor', async () => {
  const damage = [
    "/run/g1/step-00000003/rank-00000-of-00001.safetensors: tensor 'w', block 0: flipped (commit 2)",
  ];
  const resumed = {
    ...{ fromStep: 2, stepsLost: 1, exactness: 'bitwise' as const, loadSeconds: 2, firstStepSeconds: 1 },
    damage,
  };
  const result = await run([
    async () => outcome('preempted', 3),
    async () => outcome('finished', 10, { resumed }),
  ]);
  const entry = result.timeline.find(({ event }) => event === 'checkpoint_damaged');
  expect(entry).toMatchObject({ generation: 2, detail: damage[0] });
});

test('checkpoints that an evaluation passed over are in the timeline and in the result', async () => {
  const damageOf = (step: number) => [
    `/run/g1/step-0000000${step}/rank-00000-of-00001.safetensors: tensor 'w', block 0: flipped (commit 2)`,
  ];
  gang.follow([async () => outcome('finished', 9)], async () => admit(true, true));
  gang.evaluations = [{ scores: {}, stop: null, damage: damageOf(9) }];
  gang.damage = damageOf(8);
  const result = (await (await gang.start()).result()) as FinetuneResult;
  expect(result.evaluation!.damage).toEqual(damageOf(8));
  expect(result.timeline.filter(({ event }) => event === 'checkpoint_damaged')).toMatchObject([
    { detail: damageOf(9)[0] },
    { detail: damageOf(8)[0] },
  ]);
});

test('a run may be preempted any number of times', async () => {
  const preemptions = Array.from({ length: 5 }, () => async () => outcome('preempted', 3, { commit: null }));
  const result = await run([...preemptions, async () => outcome('finished', 10)]);
  expect(result.state).toBe('completed');
});

test('a rank lost again and again without a commit in between fails the run, and the failure says what the losses share', async () => {
  const cause = await failure([
    async ({ grant }) => {
      throw rankLost(grant.generation, null);
    },
  ]);
  expect(cause).toMatchObject({ type: 'RankLost' });
  expect(cause!.message).toBe(
    "killed by SIGKILL\nThe rank's process ended in the same way (killed by SIGKILL) 4 times after step 7 on host host, without a commit in between: " +
      'the cause is likely the host, the recipe or the data',
  );
  expect(gang.requests).toHaveLength(4);
  expect(gang.calls.at(-1)).toContain('finish failed: killed by SIGKILL');
});

test('a rank that commits in between may be lost any number of times', async () => {
  const losses = Array.from({ length: 5 }, (_, index): TrainScript[number] => async ({ grant }) => {
    throw rankLost(grant.generation, index);
  });
  const result = await run([...losses, async () => outcome('finished', 10)]);
  expect(result.timeline.filter(({ event }) => event === 'rank_lost')).toHaveLength(5);
});

test("an error of the user's making ends the run at once, with its type and message, and frees the slot", async () => {
  const cause = await failure([
    async () => {
      throw ApplicationFailure.nonRetryable('row 3 has no column text', 'DataError');
    },
  ]);
  expect(cause).toMatchObject({ type: 'DataError', message: 'row 3 has no column text' });
  expect(gang.calls.slice(-2)).toEqual(['release 1', 'finish failed: row 3 has no column text']);
});

test('an invalid recipe fails the workflow at once and leaves no trace in a run folder', async () => {
  gang.follow(twoEpochs, async () => {
    throw ApplicationFailure.nonRetryable('the recipe has 2 problems\n  a\n  b', 'InvalidRecipe');
  });
  const error = await (await gang.start()).result().catch((thrown: unknown) => thrown);
  expect((error as WorkflowFailedError).cause).toMatchObject({
    type: 'InvalidRecipe',
    message: 'the recipe has 2 problems\n  a\n  b',
  });
  expect(gang.calls).toEqual(['admit']);
});

test('a run does not wait for a host that was reported lost', async () => {
  gang.follow([
    async (_request, context) => {
      // A lost host neither heartbeats nor learns of a cancellation.
      await context.sleep('20 seconds').catch(() => undefined);
      return outcome('preempted', 1);
    },
    async () => outcome('finished', 10),
  ]);
  const handle = await gang.start();
  await until('training to begin', () => gang.requests.length === 1);
  const signalTime = Date.now();
  await handle.signal(signalNames.hostLost, {
    version: 1,
    queue: 'another',
    silentFor: 1,
    step: 1,
    detail: 'not ours',
  });
  await handle.signal(signalNames.hostLost, {
    version: 1,
    queue: hostQueue,
    silentFor: 1,
    step: 4,
    detail: 'killed',
  });
  const result = (await handle.result()) as FinetuneResult;
  expect(Date.now() - signalTime).toBeLessThan(10_000);
  const entries = result.timeline.filter(({ event }) => event === 'host_lost');
  expect(entries).toHaveLength(1);
  expect(entries[0]!.detectedAfter).toBe(1);
});

test('pause, resume, checkpointNow and stop reach the gang, and a stopped run is published', async () => {
  let stop = () => {};
  const untilStop = new Promise<void>((resolve) => {
    stop = resolve;
  });
  gang.follow([
    async () => {
      await untilStop;
      return outcome('stopped', 4);
    },
  ]);
  const handle = await gang.start();
  const phase = async () => (await handle.query<RunStatus>(queryNames.progress)).phase;
  await until('training to begin', () => gang.requests.length === 1);
  await handle.signal(signalNames.pause);
  await until('phase paused', async () => (await phase()) === 'paused');
  await handle.signal(signalNames.resume);
  await until('phase training', async () => (await phase()) === 'training');
  await handle.signal(signalNames.checkpointNow);
  await handle.signal(signalNames.stop);
  await until('control stopping, checkpoint 1', () => gang.calls.includes('control stopping, checkpoint 1'));
  stop();
  const result = (await handle.result()) as FinetuneResult;
  expect(result.state).toBe('stopped');
  expect(gang.calls.filter((call) => call.startsWith('control')).slice(0, 2)).toEqual([
    'control paused',
    'control running',
  ]);
});

test('a pause that arrives while the run waits for its gang holds', async () => {
  gang.follow([
    async () => {
      await until('control running', () => gang.calls.includes('control running'));
      return outcome('finished', 10);
    },
  ]);
  let grant = () => {};
  gang.slot = new Promise<void>((resolve) => {
    grant = resolve;
  });
  const handle = await gang.start();
  const phase = async () => (await handle.query<RunStatus>(queryNames.progress)).phase;
  await until('acquire 1', () => gang.calls.includes('acquire 1'));
  await handle.signal(signalNames.pause);
  await until('phase paused', async () => (await phase()) === 'paused');
  grant();
  await until('training to begin', () => gang.requests.length === 1);
  expect(gang.requests[0]!.requests).toMatchObject({ paused: true, stopping: false });
  expect(await phase()).toBe('paused');
  await handle.signal(signalNames.resume);
  expect(((await handle.result()) as FinetuneResult).state).toBe('completed');
});

test('a stop that could not be delivered is delivered again', async () => {
  gang.follow([
    async () => {
      await until(
        'three notices to stop',
        () => gang.calls.filter((call) => call === 'control stopping').length === 3,
      );
      return outcome('stopped', 4);
    },
  ]);
  const unreachable = () => ApplicationFailure.nonRetryable('the host does not answer');
  gang.failures.control = [unreachable(), unreachable()];
  const handle = await gang.start();
  await until('training to begin', () => gang.requests.length === 1);
  await handle.signal(signalNames.stop);
  expect(((await handle.result()) as FinetuneResult).state).toBe('stopped');
});

test('a stop that could not be delivered is in the next request to train', async () => {
  gang.follow([
    async () => {
      await until('control stopping', () => gang.calls.includes('control stopping'));
      return outcome('epoch', 5);
    },
    async ({ requests }) => (requests.stopping ? outcome('stopped', 5) : outcome('finished', 10)),
  ]);
  gang.failures.control = [ApplicationFailure.nonRetryable('the host does not answer')];
  const handle = await gang.start();
  await until('training to begin', () => gang.requests.length === 1);
  await handle.signal(signalNames.stop);
  expect(((await handle.result()) as FinetuneResult).state).toBe('stopped');
});

test('a run that is paused while it has no gang requests none until it is resumed', async () => {
  let preempt = () => {};
  const untilPreemption = new Promise<void>((resolve) => {
    preempt = resolve;
  });
  gang.follow([
    async () => {
      await untilPreemption;
      return outcome('preempted', 2);
    },
    async () => outcome('finished', 10),
  ]);
  const handle = await gang.start();
  await until('training to begin', () => gang.requests.length === 1);
  await handle.signal(signalNames.pause);
  await until('control paused', () => gang.calls.includes('control paused'));
  preempt();
  await until(
    'the end of the generation',
    async () => (await handle.query<RunStatus>(queryNames.progress)).generation === null,
  );
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(gang.calls).not.toContain('acquire 2');
  await handle.signal(signalNames.resume);
  expect(((await handle.result()) as FinetuneResult).state).toBe('completed');
});

test('cancelling lets the gang commit, frees the slot, and ends the workflow as cancelled', async () => {
  gang.follow([
    async (_request, context) => {
      await untilCancelled(context);
      return outcome('preempted', 6);
    },
  ]);
  const handle = await gang.start();
  await until('training to begin', () => gang.requests.length === 1);
  await handle.cancel();
  const error = await handle.result().catch((thrown: unknown) => thrown);
  expect((error as WorkflowFailedError).cause).toBeInstanceOf(CancelledFailure);
  expect(gang.calls.at(-1)).toBe('finish failed: cancelled');
});

test('a long history continues as new in the middle of an epoch, on the same gang', async () => {
  gang.follow([
    async ({ grant }, context, scripted) => {
      const detached = new Promise<void>((resolve) => {
        scripted.detached = resolve;
      });
      const { workflowId } = context.info.workflowExecution!;
      let isAttached = true;
      void detached.then(() => {
        isAttached = false;
      });
      for (let step = 1; isAttached; step += 1) {
        await scripted.client.workflow
          .getHandle(workflowId)
          .signal(signalNames.report, progress(grant.generation, step));
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      return { kind: 'detached' };
    },
    async () => outcome('epoch', 50),
    async () => outcome('finished', 100),
  ]);
  const handle = await gang.start();
  const result = (await handle.result()) as FinetuneResult;
  expect(result.steps).toBe(100);
  expect(gang.calls.filter((call) => /admit|acquire|train/.test(call))).toEqual([
    'admit',
    'acquire 1',
    'train 0 of generation 1',
    'train 0 of generation 1',
    'train 1 of generation 1',
  ]);
  const firstExecution = gang.client.workflow.getHandle(handle.workflowId, handle.firstExecutionRunId);
  expect((await firstExecution.describe()).status.name).toBe('CONTINUED_AS_NEW');
});

test.each([
  ['search attributes', true],
  ['the memo where the namespace has none', false],
])('model, state, step and loss of a run are shown in %s', async (_where, searchAttributes) => {
  gang.follow([async () => outcome('finished', 10)], async () => admit(searchAttributes));
  const handle = await gang.start();
  await handle.result();
  const { memo, searchAttributes: attributes } = await handle.describe();
  const expected = { TemperModel: 'tiny', TemperState: 'completed', TemperStep: 10, TemperLoss: 1 };
  if (searchAttributes) {
    expect(attributes).toMatchObject(
      Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, [value]])),
    );
  } else {
    expect(memo).toMatchObject(expected);
  }
});
