import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../../../..');

/** The rooms from top to bottom: a file may import from its own room or from one below. */
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
const levelsByRoom = new Map(levels.flatMap((rooms, level) => rooms.map((room) => [room, level] as const)));

/**
 * Imports past a face that are allowed, each with its reason. A target that ends in `/` stands for all files below it.
 */
const pastFaces: readonly { from: string; to: string; reason: string }[] = [
  { from: 'workflows/', to: 'contracts/', reason: 'the workflow bundle holds only what workflows use' },
  { from: 'cli/', to: 'recipes/admission.ts', reason: 'checking a recipe loads neither engine nor Temporal' },
  { from: 'activities/steps.ts', to: 'recipes/', reason: 'a step process loads the step that it computes' },
  { from: 'workers/processes/step.ts', to: 'activities/steps.ts', reason: 'it loads nothing of Temporal' },
  { from: 'shared/installation.ts', to: 'contracts/names.ts', reason: 'every process loads it first' },
  {
    from: 'shared/installation_file.ts',
    to: 'temporal.config.ts',
    reason: 'the configuration of the installation itself, found last and by its path',
  },
];

const isException = ({ from, to }: Arrow): boolean =>
  pastFaces.some((exception) => from.startsWith(exception.from) && to.startsWith(exception.to));

interface Arrow {
  from: string;
  to: string;
}

function* sources(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const entry = path.join(folder, name);
    if (statSync(entry).isDirectory()) yield* sources(entry);
    else if (name.endsWith('.ts')) yield entry;
  }
}

/** Returns the relative imports of a file, type imports included, as paths of source files from the root. */
function readImports(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const matches = [
    ...text.matchAll(/(?:from|import\()\s*'(\.{1,2}\/[^']+)'/g),
    ...text.matchAll(/^import '(\.[^']+)'/gm),
    ...text.matchAll(/new URL\('(\.{1,2}\/[^']+\.js)', import\.meta\.url\)/g),
  ];
  return matches.map((match) =>
    path.relative(root, path.resolve(path.dirname(file), match[1]!)).replace(/\.js$/, '.ts'),
  );
}

const room = (file: string) => file.split('/')[0]!;

/** Returns the component that a file belongs to: `models`, `datasets/llm`. */
function component(file: string): string {
  const [, name, kind] = file.split('/');
  return name === 'datasets' || name === 'launcher' ? `${name}/${kind}` : name!;
}

/** Returns the folder whose `index.ts` is the face of a file: its component or its room. */
function faceFolder(file: string): string {
  if (room(file) === 'components') return `components/${component(file)}`;
  return room(file);
}

const files = [...levelsByRoom.keys(), 'workflows'].flatMap((folder) => [
  ...sources(path.join(root, folder)),
]);
const arrows: Arrow[] = files.flatMap((file) =>
  readImports(file)
    .map((to) => ({ from: path.relative(root, file), to }))
    // Built files (the workflow bundle, the addon) are not source files.
    .filter(({ to }) => existsSync(path.join(root, to))),
);

const format = ({ from, to }: Arrow) => `${from} → ${to}`;

/** Returns the groups of more than one node that all reach each other (Tarjan 1972), each sorted. */
function findCycles(edges: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const groups: string[][] = [];
  const visit = (node: string): void => {
    index.set(node, index.size);
    low.set(node, index.get(node)!);
    stack.push(node);
    for (const next of edges.get(node) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(node, Math.min(low.get(node)!, low.get(next)!));
    }
    if (low.get(node) !== index.get(node)) return;
    const group = stack.splice(stack.indexOf(node));
    if (group.length > 1) groups.push(group.sort());
  };
  for (const node of edges.keys()) if (!index.has(node)) visit(node);
  return groups;
}

function buildGraph(findNode: (file: string) => string): Map<string, Set<string>> {
  const edges = new Map<string, Set<string>>();
  for (const { from, to } of arrows) {
    const [source, target] = [findNode(from), findNode(to)];
    if (!edges.has(source)) edges.set(source, new Set());
    if (source !== target) edges.get(source)!.add(target);
  }
  return edges;
}

test('rooms import only from rooms below them', () => {
  const violations = arrows.filter(({ from, to }) => {
    if (room(from) === 'workflows' || isException({ from, to })) return false;
    const [source, target] = [levelsByRoom.get(room(from)), levelsByRoom.get(room(to))];
    if (source === undefined || target === undefined) return true;
    return target < source || (target === source && room(from) !== room(to) && source !== levels.length - 1);
  });
  expect(violations.map(format)).toEqual([]);
});

test('workflows import only contracts and @temporalio/workflow', () => {
  const packages = [...sources(path.join(root, 'workflows'))].flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/from '([^.'][^']*)'/g)].map((match) => match[1]!),
  );
  expect([...new Set(packages)]).toEqual(['@temporalio/workflow']);
  const violations = arrows.filter(
    ({ from, to }) => room(from) === 'workflows' && !['contracts', 'workflows'].includes(room(to)),
  );
  expect(violations.map(format)).toEqual([]);
});

test('no component imports another component', () => {
  const violations = arrows.filter(
    ({ from, to }) =>
      room(from) === 'components' && room(to) === 'components' && component(from) !== component(to),
  );
  expect(violations.map(format)).toEqual([]);
});

test('no files import each other in a cycle', () => {
  expect(findCycles(buildGraph((file) => file))).toEqual([]);
});

test('no folders import each other in a cycle', () => {
  expect(findCycles(buildGraph(path.posix.dirname))).toEqual([]);
});

test('imports from another room go through its face', () => {
  const violations = arrows.filter(({ from, to }) => {
    const [source, target] = [faceFolder(from), faceFolder(to)];
    if (source === target || target === 'shared') return false;
    if (to === `${target}/index.ts`) return false;
    return !isException({ from, to });
  });
  expect(violations.map(format)).toEqual([]);
});

test('every exception to the faces is used', () => {
  const unused = pastFaces.filter(
    (exception) =>
      !arrows.some(({ from, to }) => from.startsWith(exception.from) && to.startsWith(exception.to)),
  );
  expect(unused).toEqual([]);
});

test('infra/ holds scripts only', () => {
  expect([...sources(path.join(root, 'infra'))]).toEqual([]);
});

test('the test reads more than 500 imports', () => {
  expect(arrows.length).toBeGreaterThan(500);
});
