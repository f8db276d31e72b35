/**
 * A hundred kills at random moments: ranks, host workers, control workers and servers, alone and together. Each run ends
 * with the losses and, bit for bit, the weights of an undisturbed one. `npm run test:soak`, with TEMPER_SOAK_KILLS for
 * another number and TEMPER_SOAK_SEED for the seed that a failure printed.
 */
import path from 'node:path';
import { countMetricsLines, Deployment, type Ending, expectSameEnd } from '../support/deployment.js';
import { Random } from '../support/random.js';
import { until } from '../support/until.js';

const kills = Number(process.env.TEMPER_SOAK_KILLS ?? 100);
const seed = Number(process.env.TEMPER_SOAK_SEED ?? Date.now() % 1_000_000);
const killsOfRun = 5;

let deployment: Deployment;
let undisturbed: Ending;

beforeAll(async () => {
  deployment = await Deployment.start();
  undisturbed = await deployment.awaitEnding(await deployment.run('undisturbed'));
}, 180_000);

afterAll(async () => deployment.stop(), 60_000);

const victims = {
  async rank() {
    for (const pid of deployment.ranks()) process.kill(pid, 'SIGKILL');
  },
  async host() {
    await deployment.host.kill();
    await deployment.restart('host');
  },
  async control() {
    await deployment.control.kill();
    await deployment.restart('control');
  },
  async server() {
    await deployment.server.kill();
    await deployment.server.restart();
  },
  async everything() {
    const { control, host, server } = deployment;
    await Promise.all([control.kill(), host.kill(), server.kill()]);
    await deployment.server.restart();
    await Promise.all([deployment.restart('control'), deployment.restart('host')]);
  },
};

const random = new Random(seed);
const pick = (): keyof typeof victims => {
  const names = Object.keys(victims) as (keyof typeof victims)[];
  return names[random.below(names.length)]!;
};

test.each(Array.from({ length: Math.ceil(kills / killsOfRun) }, (_, index) => index + 1))(
  `run %i of seed ${seed} ends with the undisturbed losses and weights`,
  async (number) => {
    const name = `run-${number}`;
    const folder = path.join(deployment.folder, name);
    const handle = await deployment.run(name, { checkpoint: { every_steps: 1 } });
    const victimNames: string[] = [];
    for (let kill = 0; kill < killsOfRun; kill += 1) {
      // At least two steps further, so that each generation commits one: a run that never gets further is ended.
      const targetLine = (await countMetricsLines(folder, null)) + 2 + random.below(6);
      const isOver = async () => (await handle.describe()).status.name !== 'RUNNING';
      await until(
        `line ${targetLine} of ${name}`,
        async () => (await countMetricsLines(folder, null)) >= targetLine || (await isOver()),
      );
      const victim = pick();
      victimNames.push(victim);
      await victims[victim]();
    }
    const end = await deployment.awaitEnding(handle);
    process.stdout.write(
      `${name}: killed ${victimNames.join(', ')}; ${end.result.timeline.length} entries\n`,
    );
    expectSameEnd(end, undisturbed);
  },
  240_000,
);
