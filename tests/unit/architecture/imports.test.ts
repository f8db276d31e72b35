import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../../../..');

/** The rooms from top to bottom: a file may import from its own level's room or from one below. */
const levels = [
  ['cli'],
  ['workers'],
  ['activities'],
  ['recipes'],
  ['components'],
  ['engine'],
  ['graph'],
  ['contracts', 'shared'],
];
const levelOf = new Map(levels.flatMap((rooms, level) => rooms.map((room) => [room, level] as const)));

function* sources(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const entry = path.join(folder, name);
    if (statSync(entry).isDirectory()) yield* sources(entry);
    else if (name.endsWith('.ts')) yield entry;
  }
}

/** Relative imports of a file, as paths from the root. Type imports count: an arrow is an arrow. */
function imports(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const found = [
    ...text.matchAll(/(?:from|import\()\s*'(\.{1,2}\/[^']+)'/g),
    ...text.matchAll(/^import '(\.[^']+)'/gm),
  ];
  return found.map((match) => path.relative(root, path.resolve(path.dirname(file), match[1]!)));
}

const room = (file: string) => file.split(path.sep)[0]!;
const component = (file: string) => {
  const [, name, kind] = file.split(path.sep);
  return name === 'datasets' || name === 'launcher' ? `${name}/${kind}` : name;
};

const files = [...levelOf.keys(), 'workflows'].flatMap((folder) => [...sources(path.join(root, folder))]);
const arrows = files.flatMap((file) =>
  imports(file).map((target) => ({ from: path.relative(root, file), to: target })),
);

test('imports go down the list of rooms only', () => {
  const wrong = arrows.filter(({ from, to }) => {
    if (room(from) === 'workflows') return false;
    const [source, target] = [levelOf.get(room(from)), levelOf.get(room(to))];
    if (source === undefined || target === undefined) return true;
    return (
      target < source || (target === source && room(from) !== room(to) && !(source === levels.length - 1))
    );
  });
  expect(wrong).toEqual([]);
});

test('workflows import contracts and @temporalio/workflow, nothing else', () => {
  const packages = [...sources(path.join(root, 'workflows'))].flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/from '([^.'][^']*)'/g)].map((match) => match[1]!),
  );
  expect([...new Set(packages)]).toEqual(['@temporalio/workflow']);
  const rooms = arrows.filter(({ from }) => room(from) === 'workflows').map(({ to }) => room(to));
  expect(rooms.filter((name) => name !== 'contracts' && name !== 'workflows')).toEqual([]);
});

test('no component imports another component', () => {
  const wrong = arrows.filter(
    ({ from, to }) =>
      room(from) === 'components' && room(to) === 'components' && component(from) !== component(to),
  );
  expect(wrong).toEqual([]);
});

test('infra/ holds scripts only', () => {
  expect([...sources(path.join(root, 'infra'))]).toEqual([]);
});

test('the list of files read is not empty', () => {
  expect(arrows.length).toBeGreaterThan(50);
});
