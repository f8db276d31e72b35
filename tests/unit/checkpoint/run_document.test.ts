import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  claimRun,
  differingKeys,
  newestSound,
  type RunClaim,
  readRunDocument,
  takeGeneration,
  updateRunDocument,
} from '../../../components/checkpoint/index.js';
import { CheckpointError, FencedError } from '../../../shared/errors.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { digest, newRun, newSaver, save } from './fixture.js';

const root = temporaryFolder();
const recipe = { model: { name: 'm' }, seed: 1, training: { optimizer: { name: 'adamw' }, num_epochs: 1 } };

function claimOf(run: string, change: Partial<RunClaim> = {}): RunClaim {
  return {
    run,
    recipeDigest: digest,
    workflow: null,
    fresh: false,
    recipes: { previous: recipe, next: recipe },
    guarded: ['model', 'peft', 'data', 'seed', 'training.optimizer'],
    ...change,
  };
}

test("an empty folder becomes the new run's, and the same run resumes in it", async () => {
  const folder = await newRun(root);
  expect((await claimRun(folder, claimOf('a'))).kind).toBe('new');
  await updateRunDocument(folder, 'a', { state: 'failed', failure: 'lost power' });
  const { kind, document } = await claimRun(folder, claimOf('a', { recipeDigest: 'b'.repeat(64) }));
  expect(kind).toBe('resumed');
  expect(document).toMatchObject({ state: 'running', failure: null, recipeDigest: 'b'.repeat(64) });
});

test("another run's folder is refused, naming both", async () => {
  const folder = await newRun(root);
  await claimRun(folder, claimOf('a'));
  await expect(claimRun(folder, claimOf('b'))).rejects.toThrow(/belongs to the run 'a'.* not to 'b'/);
  await expect(updateRunDocument(folder, 'b', { state: 'failed' })).rejects.toThrow(CheckpointError);
});

test('a completed run is reported and not touched', async () => {
  const folder = await newRun(root);
  await claimRun(folder, claimOf('a'));
  const before = await updateRunDocument(folder, 'a', { state: 'completed' });
  expect(await claimRun(folder, claimOf('a'))).toEqual({ kind: 'completed', document: before });
  expect(await readRunDocument(folder)).toEqual(before);
});

test('a resume with other guarded keys is refused and lists each; other changes are taken', async () => {
  const folder = await newRun(root);
  await claimRun(folder, claimOf('a'));
  const longer = { ...recipe, training: { ...recipe.training, num_epochs: 5 } };
  await claimRun(folder, claimOf('a', { recipes: { previous: recipe, next: longer } }));
  const other = { ...recipe, seed: 2, peft: { rank: 4 }, training: { optimizer: { name: 'sgd' } } };
  await expect(
    claimRun(folder, claimOf('a', { recipes: { previous: recipe, next: other } })),
  ).rejects.toThrow(/cannot continue with another peft, seed, training\.optimizer\.name: restore those keys/);
});

test('keys are compared by value, whatever their order, and null equals absence', () => {
  expect(differingKeys({ a: { x: 1, y: [1, 2] } }, { a: { y: [1, 2], x: 1 } }, ['a'])).toEqual([]);
  expect(differingKeys({ a: { x: null } }, { a: {} }, ['a'])).toEqual([]);
  expect(differingKeys({ a: { x: 1 } }, {}, ['a'])).toEqual(['a']);
  expect(differingKeys({ a: { y: [1, 2] } }, { a: { y: [2, 1] } }, ['a.y'])).toEqual(['a.y']);
});

test('starting over drops checkpoints, metrics and evaluations, keeps what was published, and fences the old run', async () => {
  const folder = await newRun(root);
  await claimRun(folder, claimOf('a'));
  const old = await newSaver(folder);
  await save(old, 10);
  await folder.write('metrics.jsonl', Buffer.from('{}\n'));
  await folder.write('loggers/csv.json', Buffer.from('{}'));
  await folder.write('evaluation/history.json', Buffer.from('{}'));
  await folder.write(`evaluation/step-10-${'a'.repeat(12)}/facts/shard-00000.json`, Buffer.from('{}'));
  await folder.write('samples/facts.jsonl', Buffer.from('{"id":"1","prompt":"?","answers":{"10":"!"}}\n'));
  await folder.write('final/config.json', Buffer.from('{}'));
  expect((await claimRun(folder, claimOf('a', { fresh: true }))).kind).toBe('new');
  expect(await newestSound(folder)).toEqual({ entry: null, damage: [] });
  expect(readdirSync(folder.folder).sort()).toEqual(['commits', 'final', 'run.json']);
  await expect(save(old, 11)).rejects.toThrow(FencedError);
  expect((await takeGeneration(folder, { holder: 'pool.host.2', worldSize: 1 })).generation).toBe(3);
});

test("starting over in another run's folder is refused, and that run keeps its checkpoints", async () => {
  const folder = await newRun(root);
  await claimRun(folder, claimOf('a'));
  await save(await newSaver(folder), 10);
  await expect(claimRun(folder, claimOf('b', { fresh: true }))).rejects.toThrow(
    /belongs to the run 'a' \(running\), not to 'b'/,
  );
  const { entry, damage } = await newestSound(folder);
  expect([entry?.trainer.step, damage]).toEqual([10, []]);
});

test.each([true, false])(
  "a folder with someone's files and no run.json is refused (fresh: %s)",
  async (fresh) => {
    const folder = await newRun(root);
    const mine = ['evaluation/my_notes.txt', 'metrics.jsonl', 'samples/mine.jsonl'];
    for (const key of mine) await folder.write(key, Buffer.from('mine'));
    await expect(claimRun(folder, claimOf('a', { fresh }))).rejects.toThrow(
      /is not empty .*evaluation\/my_notes\.txt.* no run\.json.*output_dir/,
    );
    for (const key of mine) expect((await folder.read(key)).toString()).toBe('mine');
  },
);

test("starting over leaves a user's own files in evaluation/, samples/ and loggers/ alone", async () => {
  const folder = await newRun(root);
  await claimRun(folder, claimOf('a'));
  const mine = [
    'evaluation/my_notes.txt',
    'evaluation/step-by-step.md',
    'samples/mine.jsonl',
    'samples/a.txt',
    'loggers/notes.txt',
  ];
  for (const key of mine) await folder.write(key, Buffer.from('mine'));
  await claimRun(folder, claimOf('a', { fresh: true }));
  for (const key of mine) expect((await folder.read(key)).toString()).toBe('mine');
});

test('a folder with commits but without run.json is refused', async () => {
  const folder = await newRun(root);
  await takeGeneration(folder, { holder: 'pool.host.1', worldSize: 1 });
  await expect(claimRun(folder, claimOf('a'))).rejects.toThrow(
    /commits\/00000001\.json.* no run\.json that names its run/,
  );
});

test.each([
  ['torn', '{"version": 1, "run"', /run\.json: not valid JSON/],
  ['of another version', '{"version": 2}', /run\.json: not a run document of this version: version/],
])('a run.json that is %s is refused with what to do', async (_, text, what) => {
  const folder = await newRun(root);
  await claimRun(folder, claimOf('a'));
  writeFileSync(path.join(folder.folder, 'run.json'), text);
  await expect(claimRun(folder, claimOf('a'))).rejects.toThrow(what);
});
