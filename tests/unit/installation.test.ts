import { chmod, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { defineConfig } from '../../shared/installation.js';
import { chooseFile } from '../../shared/installation_file.js';
import { temporaryFolder } from '../support/temporary_folder.js';

const folder = temporaryFolder();

async function write(file: string, mode = 0o644): Promise<string> {
  const target = path.join(folder, file);
  await mkdir(path.dirname(target), { recursive: true });
  await writeFile(target, 'export default {};');
  await chmod(target, mode);
  return target;
}

test('an unknown key of the configuration is refused by name', () => {
  expect(() => defineConfig({ taskQueues: 'temper' } as object)).toThrow(/taskQueues/);
});

test('the bounds of one kind of step can be changed without naming the others', () => {
  const { bounds } = defineConfig({ worker: { bounds: { admit: { seconds: 5 } } } }).worker;
  expect(bounds.admit).toEqual({ memory: 2 ** 30, seconds: 5 });
  expect(bounds.prepareData.seconds).toBeGreaterThan(5);
});

describe('the installation file', () => {
  test('is the one that TEMPER_CONFIG names, as an absolute path', async () => {
    const file = await write('named/mine.mjs');
    expect((await chooseFile(folder, { TEMPER_CONFIG: 'named/mine.mjs' })).file).toBe(file);
  });

  test('is an error if TEMPER_CONFIG names one that does not exist', async () => {
    await expect(chooseFile(folder, { TEMPER_CONFIG: 'absent.mjs' })).rejects.toThrow(
      /absent\.mjs.*not exist/,
    );
  });

  test('is found in the working folder or above it', async () => {
    const file = await write('project/temporal.config.mjs');
    await mkdir(path.join(folder, 'project/recipes'), { recursive: true });
    expect((await chooseFile(path.join(folder, 'project/recipes'), { HOME: '/nowhere' })).file).toBe(file);
  });

  test.each([
    ['package.json', {}],
    ['no file, if that is the home folder', { HOME: path.join(folder, 'bounded/inner') }],
  ])('is not searched for above a folder with %s', async (stop, environment) => {
    await write('bounded/temporal.config.js');
    const inner = path.join(folder, 'bounded/inner');
    await mkdir(path.join(inner, 'deep'), { recursive: true });
    if (stop === 'package.json') await writeFile(path.join(inner, stop), '{}');
    const { file } = await chooseFile(path.join(inner, 'deep'), environment);
    expect(file).toBe(path.resolve(import.meta.dirname, '../../temporal.config.js'));
  });

  test('is passed over if other users may write to it, and reported with the reason', async () => {
    const file = await write('shared/temporal.config.mjs', 0o666);
    const { file: chosen, passedOver } = await chooseFile(path.dirname(file), { HOME: path.dirname(file) });
    expect(chosen).not.toBe(file);
    expect(passedOver).toEqual([expect.stringMatching(/shared\/temporal\.config\.mjs.*others may write/)]);
  });
});
