/** A server that is away for longer than the heartbeat timeout of training costs no step. */
import { Deployment, interruptions } from '../support/deployment.js';

let deployment: Deployment;

beforeAll(async () => {
  deployment = await Deployment.start();
}, 180_000);

afterAll(async () => deployment.stop(), 60_000);

test('a run that is paused meanwhile goes on as if nothing had happened', async () => {
  const undisturbed = await deployment.ending(await deployment.run('undisturbed'));
  const handle = await deployment.run('outage');
  await deployment.reached('outage', 1, 3);
  // Held where it is, so that the epoch is under way when the server comes back.
  await handle.signal('pause');
  await deployment.phase(handle, 'paused');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await deployment.server.kill();
  await new Promise((resolve) => setTimeout(resolve, 70_000));
  await deployment.server.restart();
  await handle.signal('resume');
  const end = await deployment.ending(handle);
  expect(end.losses).toEqual(undisturbed.losses);
  expect(end.weights).toBe(undisturbed.weights);
  expect(interruptions(end.result)).toEqual([]);
}, 240_000);
