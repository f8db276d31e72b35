import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { checkMemory, checkNode } from '../../../cli/doctor/machine.js';
import { checkCredentials, checkStorage } from '../../../cli/doctor/storage.js';
import { usesColor } from '../../../cli/terminal/color.js';
import { temporaryFolder } from '../../support/temporary_folder.js';

const cache = temporaryFolder();

test.each([
  ['20.18.3', 'fail'],
  ['20.19.0', 'ok'],
  ['22.1.0', 'ok'],
  ['18.20.0', 'fail'],
])('doctor checks Node %s as %s', (version, status) => {
  expect(checkNode(version).status).toBe(status);
});

test("doctor distinguishes a container's limit from the machine's memory", () => {
  const { status, detail } = checkMemory(2e9, 64e9);
  expect(status).toBe('warn');
  expect(detail).toMatch(/2\.0 GB .*limit.* 64\.0 GB/);
});

test('doctor lists the credentials that are set and never shows them', () => {
  const secret = 'hf_0123456789abcdefghijklmnop';
  const findings = checkCredentials({ HF_TOKEN: secret, AWS_ACCESS_KEY_ID: secret });
  expect(findings.map(({ detail }) => detail)).toEqual(['HF_TOKEN set', 'AWS_ACCESS_KEY_ID set']);
  expect(JSON.stringify(findings)).not.toContain(secret);
});

test('doctor fails a root that cannot be written to, and names its variable', async () => {
  const findings = await checkStorage({ roots: [cache, '/proc/nowhere'], cache });
  expect(findings.map(({ name, status }) => [name, status])).toEqual([
    ['cache', 'ok'],
    ['storage root', 'fail'],
  ]);
  expect(findings[1]!.remedy).toContain('TEMPER_ROOTS');
});

test('doctor leaves missing and empty folders unchanged', async () => {
  const [empty, absent] = [path.join(cache, 'empty'), path.join(cache, 'absent')];
  await mkdir(empty);
  const findings = await checkStorage({ roots: [empty, path.join(absent, 'root')], cache: absent });
  expect(findings.map(({ status }) => status)).not.toContain('fail');
  expect(findings[0]!.detail).toContain('created when it is first written to');
  expect(await readdir(cache)).toEqual(['empty']);
  expect(await readdir(empty)).toEqual([]);
});

test('NO_COLOR and a dumb terminal switch colors off, FORCE_COLOR on', () => {
  expect(usesColor({ isTTY: true }, {})).toBe(true);
  expect(usesColor({ isTTY: false }, {})).toBe(false);
  expect(usesColor({ isTTY: true }, { NO_COLOR: '1', FORCE_COLOR: '1' })).toBe(false);
  expect(usesColor({ isTTY: true }, { TERM: 'dumb' })).toBe(false);
  expect(usesColor({ isTTY: false }, { FORCE_COLOR: '1' })).toBe(true);
});
