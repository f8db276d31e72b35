/**
 * A run on a device that is not a CPU: memory that the host cannot touch, streams that run as late as they may, segments that
 * are captured and replayed. It ends with the bits of the CPU's portable kernels, even when its rank is killed or the
 * device is lost.
 */
import path from 'node:path';
import { queryNames, type RunStatus } from '../../contracts/index.js';
import { Deployment, type Ending, expectSameEnd, interruptions } from '../support/deployment.js';
import { writeTokenizedModel } from '../support/tokenized_model.js';

let deployment: Deployment;
let onCpu: Ending;

async function runToEnd(name: string): Promise<Ending> {
  return await deployment.awaitEnding(await deployment.run(name));
}

/** Offers a fake device with these settings (`native/fake/plugin.cpp`) in place of what the host had before. */
const offerFake = (settings: Record<string, string> = {}): Promise<void> =>
  deployment.replaceHost({ TEMPER_TEST_DEVICES: 'fake:1', ...settings });

beforeAll(async () => {
  deployment = await Deployment.start({
    TEMPER_CONFIG: path.join(import.meta.dirname, 'support/loaded_backend_config.js'),
  });
  // What the fake device lacks is nothing to a run on the CPU.
  await deployment.replaceHost({ TEMPER_ISA: 'portable', TEMPER_FAKE_WITHOUT: 'rmsnorm' });
  onCpu = await runToEnd('cpu');
}, 120_000);

afterAll(async () => deployment.stop(), 60_000);

test.each([
  ['with late streams and captured segments', 'captured', {}],
  [
    'that uploads first and runs record by record',
    'record-by-record',
    { TEMPER_FAKE_ORDER: 'uploads_first', TEMPER_FAKE_CAPTURE: 'off' },
  ],
])(
  'a fake device %s computes what the CPU does',
  async (_, name, settings) => {
    await offerFake(settings);
    expectSameEnd(await runToEnd(name), onCpu);
  },
  120_000,
);

test('a killed rank of a fake device is replaced, and the weights are the same bits', async () => {
  await offerFake();
  const handle = await deployment.run('killed');
  await deployment.untilLines('killed', 1, 12);
  process.kill(deployment.ranks()[0]!, 'SIGKILL');
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, onCpu);
  expect(interruptions(end.result)).toMatchObject([{ event: 'rank_lost', exactness: 'bitwise' }]);
}, 120_000);

test('a lost device costs its rank, not the run', async () => {
  await offerFake({ TEMPER_FAKE_LOST_AFTER: '7000', TEMPER_FAKE_CAPTURE: 'off' });
  const { result, weights } = await deployment.awaitEnding(await deployment.run('lost'));
  expect(weights).toBe(onCpu.weights);
  const [loss] = interruptions(result);
  expect(loss).toMatchObject({ event: 'rank_lost', exactness: 'bitwise' });
  expect(JSON.stringify(loss)).toContain('the device was lost after 7000 records');
}, 120_000);

test('a lost peer costs the generation, not the run', async () => {
  await offerFake({ TEMPER_FAKE_PEER_LOST_AFTER: '7000', TEMPER_FAKE_CAPTURE: 'off' });
  const host = deployment.host.child.pid;
  const end = await deployment.awaitEnding(await deployment.run('peer'));
  expectSameEnd(end, onCpu);
  const [loss] = interruptions(end.result);
  expect(loss).toMatchObject({ event: 'rank_lost', exactness: 'bitwise' });
  expect(loss!.detail).toBe('another rank was lost after 7000 records');
  expect(deployment.host.child).toMatchObject({ pid: host, exitCode: null });
}, 120_000);

test('an evaluation computes on the CPU, and its process never loads the device’s backend', async () => {
  await offerFake();
  const model = { name: path.join(deployment.folder, 'tokenized') };
  await writeTokenizedModel(model.name);
  const evaluation = { tasks: [{ task: 'backend', when: 'epoch' }] };
  const { result } = await deployment.awaitEnding(await deployment.run('evaluated', { model, evaluation }));
  for (const scores of [result.evaluation!.before, result.evaluation!.after]) {
    expect(scores['backend/tokens']).toBeGreaterThan(1);
    expect(scores['backend/is_loaded']).toBe(0);
  }
}, 120_000);

test('a run that needs more memory than its device has fails, and the error gives the forecast', async () => {
  await offerFake({ TEMPER_FAKE_MEMORY: '100000' });
  const handle = await deployment.run('small');
  const error = (await handle.result().catch((thrown: unknown) => thrown)) as { cause: Error };
  expect(error.cause.message).toMatch(
    /cannot allocate \d+ bytes: \d+ of 100000 are in use\. The run was expected to need [\d.]+ .B/,
  );
}, 120_000);

test('a run with an op that the device has no kernel for computes it by its fallback', async () => {
  await offerFake({ TEMPER_FAKE_WITHOUT: 'rmsnorm' });
  const { losses, weights } = await runToEnd('lowered');
  // The fallback rounds elsewhere: the same model, and soon other bits.
  expect(Math.abs(losses.get(1)! / onCpu.losses.get(1)! - 1)).toBeLessThan(1e-5);
  expect(weights).not.toBe(onCpu.weights);
}, 120_000);

test('a run with an op that has neither a kernel nor a fallback fails before it trains', async () => {
  await offerFake({ TEMPER_FAKE_WITHOUT: 'matmul' });
  const handle = await deployment.run('unsupported');
  const error = (await handle.result().catch((thrown: unknown) => thrown)) as { cause: Error };
  expect(error.cause.message).toContain(
    "the target has no kernel for op 'matmul', and the op has no fallback",
  );
  const { timeline } = await handle.query<RunStatus>(queryNames.progress);
  expect(timeline.map(({ event }) => event)).toEqual(['admitted', 'data_prepared']);
}, 120_000);

test('a run on a device that needs another alignment ends with the same bits', async () => {
  await offerFake({ TEMPER_FAKE_ALIGNMENT: '256' });
  expectSameEnd(await runToEnd('aligned'), onCpu);
}, 120_000);
