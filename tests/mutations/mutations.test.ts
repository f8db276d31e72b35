import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import path from 'node:path';
import { temporaryFolder } from '../support/temporary_folder.js';
import { applyMutation, copyBuild, listMutations } from './apply.js';

const folder = temporaryFolder();

test.each(listMutations())(
  'the commit-log simulator finds %s within 100 seeds',
  (name) => {
    const dist = copyBuild(mkdtempSync(path.join(folder, 'copy-')));
    applyMutation(dist, name);
    const simulator = path.join(dist, 'tests/simulators/commit_log.js');
    const { status, stdout } = spawnSync(process.execPath, [simulator, '--seeds', '100'], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    expect([status, stdout]).toEqual([1, expect.stringMatching(/^seed \d+: /)]);
  },
  120_000,
);
