/**
 * The commit-log simulator: the real save, load and retirement code under schedules that a seed decides.
 *
 *     node dist/tests/simulators/commit_log.js --seeds 10000 [--from 1]
 */
import { parseArgs } from 'node:util';
import { simulate } from './commit_log/simulate.js';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '10000' }, from: { type: 'string', default: '1' } },
});
const from = Number(values.from);
const seeds = Number(values.seeds);
for (let seed = from; seed < from + seeds; seed += 1) {
  const failure = await simulate(seed);
  if (failure === null) continue;
  process.stdout.write(
    `seed ${seed}: ${failure.violation}\nThe last changes:\n  ${failure.trace.slice(-40).join('\n  ')}\n`,
  );
  process.exitCode = 1;
  break;
}
if (process.exitCode === undefined) process.stdout.write(`${seeds} seeds from ${from}: no violation\n`);
