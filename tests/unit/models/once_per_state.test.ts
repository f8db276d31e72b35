import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { oncePerState } from '../../../components/models/index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-once-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a check that passed is repeated only when its files change', async () => {
  const file = path.join(folder, 'weights');
  const cache = path.join(folder, 'cache');
  let checks = 0;
  const check = () =>
    oncePerState([file, file], cache, async () => {
      checks += 1;
      if (checks === 1) throw new Error('damaged');
    });
  await writeFile(file, 'one');
  await expect(check()).rejects.toThrow('damaged');
  await check();
  await check();
  expect(checks).toBe(2);
  await writeFile(file, 'longer');
  await check();
  expect(checks).toBe(3);
});
