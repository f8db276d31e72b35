import type { StepName } from '../../../contracts/step_process.js';
import { credentialsFor } from '../../../workers/processes/step_processes.js';

const onDisk = { run: { outputDir: '/runs/one' }, packs: '/cache/packs' };
const inStore = { run: { outputDir: 's3://bucket/one' }, packs: '/cache/packs' };

test.each<[StepName, object, string[]]>([
  ['admit', onDisk, ['s3']],
  ['prepareData', onDisk, ['hub']],
  ['prepareData', inStore, ['hub', 's3']],
  ['shardModel', onDisk, ['hub', 's3']],
  ['evaluate', onDisk, []],
  ['evaluate', inStore, ['s3']],
  ['evaluateEpoch', onDisk, []],
  ['consolidate', onDisk, ['hub', 's3']],
])('%s of %j receives the credentials of %j', (step, request, kinds) => {
  expect(credentialsFor(step, request)).toEqual(kinds);
});
