/** A server that is away for longer than the heartbeat timeout of training costs no step. */
import { Deployment, expectSameEnd, interruptions } from '../support/deployment.js';

let deployment: Deployment;

beforeAll(async () => {
  deployment = await Deployment.start();
}, 180_000);

afterAll(async () => deployment.stop(), 60_000);

test('a run that is paused while the server is away for 70 s loses no step', async () => {
  const undisturbed = await deployment.awaitEnding(await deployment.run('undisturbed'));
  const handle = await deployment.run('outage');
  await deployment.untilLines('outage', 1, 3);
  // The pause holds the run, so that the epoch is under way when the server comes back.
  await handle.signal('pause');
  await deployment.untilPhase(handle, 'paused');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await deployment.server.kill();
  await new Promise((resolve) => setTimeout(resolve, 70_000));
  await deployment.server.restart();
  await handle.signal('resume');
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toEqual([]);
}, 240_000);
