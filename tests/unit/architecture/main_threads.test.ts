/** Tests that a worker's main thread computes no step of a run: a step may be stopped by what a recipe names. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../../../..');

/** Functions of recipes/ that read no more of a run's folder than documents of a bounded size. */
const bounded = ['finish', 'otherOwner', 'recordTimeline', 'takeGeneration'];

/** The list of steps, which only the processes that compute them load. */
const steps = 'activities/steps.ts';

/** Source files that run on a worker's main thread. */
const files = ['activities', 'workers'].flatMap((folder) =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => `${folder}/${file}`)
    .filter((file) => file.endsWith('.ts') && !file.startsWith('workers/processes/') && file !== steps),
);

const read = (file: string) => readFileSync(path.join(root, file), 'utf8');

/** Returns the names of the values that a file takes from recipes/; `*` for a whole module. */
function valuesFromRecipes(file: string): string[] {
  const text = read(file);
  const named = [...text.matchAll(/(?:import|export) (type )?\{([^}]*)\} from '(?:\.\.\/)+recipes\/[^']*'/g)];
  const values = named
    .filter(([, type]) => type === undefined)
    .flatMap(([, , names]) => names!.split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('type '))
    .map((name) => name.split(' as ')[0]!);
  const mentions = [...text.matchAll(/'(?:\.\.\/)+recipes\//g)].length;
  return mentions === named.length ? values : [...values, '*'];
}

test('activities and workers take from recipes only what reads within bounds', () => {
  const taken = files.flatMap((file) => valuesFromRecipes(file));
  expect([...new Set(taken)].sort()).toEqual(bounded);
});

test('activities and workers use the components through recipes only', () => {
  const wrong = files.filter((file) => /'(?:\.\.\/)+components\//.test(read(file)));
  expect(wrong).toEqual([]);
});

test('the steps are loaded by the processes that compute them only', () => {
  const users = files.filter((file) => {
    const imports = [
      ...read(file).matchAll(
        /^(import|export) (type )?[^;]*? from '(?:\.\/|(?:\.\.\/)+activities\/)steps\.js'/gm,
      ),
    ];
    return imports.some(([, , type]) => type === undefined);
  });
  expect(users).toEqual([]);
  expect(read('workers/processes/step.ts')).toContain("from '../../activities/steps.js'");
});
