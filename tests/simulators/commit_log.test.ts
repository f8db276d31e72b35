import { randomInt } from 'node:crypto';
import { simulate } from './commit_log/simulate.js';

test('no schedule of 1,000 fixed seeds breaks an invariant of the commit log', async () => {
  for (let seed = 1; seed <= 1000; seed += 1) {
    expect({ seed, failure: await simulate(seed) }).toEqual({ seed, failure: null });
  }
}, 300_000);

test('no schedule of a random seed breaks an invariant of the commit log', async () => {
  const seed = randomInt(2 ** 32);
  console.info(`seed ${seed}: node dist/tests/simulators/commit_log.js --seeds 1 --from ${seed}`);
  expect({ seed, failure: await simulate(seed) }).toEqual({ seed, failure: null });
});
