import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

test('an unhandled rejection is logged and fails its own activity, and no other', () => {
  const program = fileURLToPath(new URL('./support/rejecting_activities.js', import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
  expect(JSON.parse(stdout)).toEqual(['RangeError: left behind', 'done']);
  expect(stderr).toMatch(/unhandled promise rejection: RangeError: left behind\n +at /);
}, 60_000);
