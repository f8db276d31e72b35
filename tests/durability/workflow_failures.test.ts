/** Tests what the workflow survives and what ends it, on a real server, with activities that fail as scripted. */
import { ApplicationFailure, WorkflowFailedError } from '@temporalio/client';
import type { CrashDetails, FailureDetails, FinetuneResult, LossDetails } from '../../contracts/index.js';
import { failureTypes, signalNames } from '../../contracts/names.js';
import { hostQueue, outcome, progress, ScriptedGang, type TrainScript } from '../support/scripted_gang.js';
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

const finish: TrainScript[number] = async () => outcome('finished', 10);

async function result(): Promise<FinetuneResult> {
  return (await (await gang.start()).result()) as FinetuneResult;
}

/** Returns the failure that ended the workflow. */
async function failure(): Promise<ApplicationFailure> {
  const error = await result().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WorkflowFailedError);
  return (error as WorkflowFailedError).cause as ApplicationFailure;
}

function failing(type: string, retry: FailureDetails['retry'], message = type): ApplicationFailure {
  const details: FailureDetails = { version: 1, retry };
  return ApplicationFailure.create({ type, message, nonRetryable: retry === 'never', details: [details] });
}

function crashed(host: string, input = 'b'.repeat(64)): ApplicationFailure {
  const details: CrashDetails = { version: 1, step: 'prepareData', input, ended: 'killed by SIGTRAP', host };
  const type = failureTypes.processCrashed;
  return ApplicationFailure.create({ type, message: 'crashed', nonRetryable: true, details: [details] });
}

function rankLost(generation: number, step: number, ended = 'killed by SIGSEGV'): ApplicationFailure {
  const details: LossDetails = { version: 1, silentFor: 0.1, ended, progress: progress(generation, step) };
  return ApplicationFailure.create({ type: failureTypes.rankLost, message: ended, details: [details] });
}

test('a single storage error ends neither a step nor training, not even after a wait for a slot', async () => {
  gang.follow([
    async () => {
      throw failing('StorageError', 'storage', 'EIO: i/o error, write');
    },
    finish,
  ]);
  const noSlot = () => ApplicationFailure.nonRetryable('no slot', failureTypes.noFreeSlot);
  gang.failures = {
    prepareData: [failing('StorageError', 'storage')],
    acquire: [noSlot(), noSlot(), noSlot(), failing('StorageError', 'storage')],
  };
  const { state, interruptions } = await result();
  expect(state).toBe('completed');
  expect(interruptions).toMatchObject({ error_retried: 3, host_lost: 0 });
});

test('storage that stays broken ends a step with its own message', async () => {
  gang.follow([finish]);
  gang.failures.prepareData = Array.from({ length: 9 }, () =>
    failing('StorageError', 'storage', 'the disk is full'),
  );
  expect(await failure()).toMatchObject({ type: 'StorageError', message: 'the disk is full' });
  expect(gang.calls.filter((call) => call === 'prepareData')).toHaveLength(4);
});

test('failures of unrelated causes do not add up', async () => {
  gang.follow([finish]);
  const causes = ['storage', 'process', 'service'] as const;
  gang.failures.prepareData = [...causes, ...causes].map((cause) => failing('Failure', cause));
  const { state, interruptions } = await result();
  expect(state).toBe('completed');
  expect(interruptions.error_retried).toBe(6);
}, 60_000);

test('a step whose hosts are shut down or lost is tried again any number of times', async () => {
  gang.follow([finish]);
  const shutDown = () => ApplicationFailure.retryable('shutdown', failureTypes.workerShutdown);
  const hostLost = () => ApplicationFailure.create({ type: failureTypes.hostLost, message: 'killed' });
  gang.failures.prepareData = [shutDown(), hostLost(), shutDown(), hostLost()];
  const { state, interruptions } = await result();
  expect(state).toBe('completed');
  expect(interruptions).toMatchObject({ preempted: 2, host_lost: 2 });
});

test('a step whose process crashed once is computed again', async () => {
  gang.follow([finish]);
  gang.failures.prepareData = [crashed('a')];
  expect((await result()).state).toBe('completed');
});

test.each([
  ['on two hosts', 'a', 'b', 'on two hosts: killed by SIGTRAP on a, killed by SIGTRAP on b'],
  ['twice on one host', 'a', 'a', 'twice on host a: killed by SIGTRAP, then killed by SIGTRAP'],
])('an input that crashes its process %s ends the run', async (_where, first, second, text) => {
  gang.follow([finish]);
  gang.failures.prepareData = [crashed(first), crashed(second)];
  const cause = await failure();
  expect(cause.type).toBe(failureTypes.poisonInput);
  expect(cause.message).toContain(`prepareData crashed on the same input (sha256 bbbbbbbbbbbb) ${text}`);
  expect(gang.calls.filter((call) => call === 'prepareData')).toHaveLength(2);
});

test('a run whose folder another workflow has taken over ends, and requests no other gang', async () => {
  gang.follow([
    async () => {
      throw failing('FencedError', 'never', 'workflow b in namespace default has taken over /run');
    },
  ]);
  expect(await failure()).toMatchObject({
    type: 'FencedError',
    message: 'workflow b in namespace default has taken over /run',
  });
  expect(gang.requests).toHaveLength(1);
});

test('after a host is lost, another one is asked first, and the same one if there is no other', async () => {
  gang.follow([
    async () => {
      throw ApplicationFailure.create({ type: failureTypes.hostLost, message: 'killed' });
    },
    finish,
  ]);
  const hostAvoided = () =>
    ApplicationFailure.nonRetryable('another host is there', failureTypes.hostAvoided);
  gang.failures.acquire = [];
  const handle = await gang.start();
  await until('training to begin', () => gang.requests.length > 0);
  gang.failures.acquire.push(hostAvoided(), hostAvoided(), hostAvoided());
  expect(((await handle.result()) as FinetuneResult).state).toBe('completed');
  const queues = gang.acquires.map(({ avoid }) => avoid);
  expect(queues).toEqual([[], [hostQueue], [hostQueue], [hostQueue], []]);
});

test('a gang that has lost a rank is replaced as often as it takes, and the hosts of the others are not avoided', async () => {
  const lost: TrainScript[number] = async () => {
    throw failing(failureTypes.peerLost, 'process', 'another rank is gone');
  };
  gang.follow([lost, lost, lost, lost, finish]);
  const { state, interruptions, timeline } = await result();
  expect(state).toBe('completed');
  expect(interruptions).toMatchObject({ rank_lost: 4, error_retried: 0 });
  expect(timeline.find(({ event }) => event === 'rank_lost')?.detail).toBe('another rank is gone');
  expect(gang.acquires.map(({ avoid }) => avoid)).toEqual([[], [], [], [], []]);
}, 60_000);

test('a rank that SIGKILL does not end is replaced, and the entry says that its slot is quarantined', async () => {
  gang.follow([
    async ({ grant }) => {
      throw rankLost(grant.generation, 4, 'it is still running 10 s after SIGKILL');
    },
    finish,
  ]);
  gang.torn = false;
  const { state, timeline } = await result();
  expect(state).toBe('completed');
  expect(timeline.find(({ event }) => event === 'rank_lost')?.detail).toBe(
    'it is still running 10 s after SIGKILL; its process is still running, so its slot is quarantined',
  );
});

test('the entry of an interruption is complete although the next generation was lost before its epoch ended', async () => {
  const resumed = {
    fromStep: 3,
    stepsLost: 0,
    exactness: 'bitwise' as const,
    loadSeconds: 2,
    firstStepSeconds: 1,
    damage: [],
  };
  gang.follow([
    async () => outcome('preempted', 3),
    async ({ grant }, context, { client }) => {
      const { workflowId } = context.info.workflowExecution!;
      const handle = client.workflow.getHandle(workflowId);
      await handle.signal(
        signalNames.report,
        progress(grant.generation, 3, { resumed: { ...resumed, firstStepSeconds: null } }),
      );
      await handle.signal(signalNames.report, progress(grant.generation, 4, { resumed }));
      throw rankLost(grant.generation, 4);
    },
    finish,
  ]);
  const { timeline } = await result();
  const details = { loadedAfter: 2, firstStepAfter: 1, stepsLost: 0, exactness: 'bitwise' };
  expect(timeline.filter(({ event }) => event === 'preempted')).toMatchObject([details]);
  expect(timeline.filter(({ event }) => event === 'resumed')).toMatchObject([details]);
  expect(timeline.find(({ event }) => event === 'rank_lost')).toMatchObject({
    loadedAfter: 2,
    stepsLost: 4,
  });
});

test('a run interrupted many times stays small, and each entry of its timeline is written once', async () => {
  const interruptions = 60;
  gang.follow([...Array.from({ length: interruptions }, () => async () => outcome('preempted', 3)), finish]);
  gang.failures.recordTimeline = [failing('StorageError', 'storage')];
  const handle = await gang.start();
  const finalResult = (await handle.result()) as FinetuneResult;
  expect(finalResult.interruptions.preempted).toBe(interruptions);
  expect(finalResult.timeline).toHaveLength(100);
  expect(gang.timelineEntries.map(({ number }) => number)).toEqual(
    gang.timelineEntries.map((_, index) => index + 1),
  );
  expect(gang.timelineEntries.slice(-100)).toEqual(finalResult.timeline);
  expect(gang.timelineEntries.length).toBeGreaterThan(2 * interruptions);
}, 120_000);
