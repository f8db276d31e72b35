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

function buildClaim(run: string, change: Partial<RunClaim> = {}): RunClaim {
  return {
    runId: run,
    recipeDigest: digest,
    workflow: null,
    fresh: false,
    recipes: { previous: recipe, next: recipe },
    guarded: ['model', 'peft', 'data', 'seed', 'training.optimizer'],
    ...change,
  };
}

test("an empty folder becomes the new run's, and the same run resumes in it", async () => {
  const storage = await newRun(root);
  expect((await claimRun(storage, buildClaim('a'))).kind).toBe('new');
  await updateRunDocument(storage, 'a', { state: 'failed', failure: 'lost power' });
  const { kind, document } = await claimRun(storage, buildClaim('a', { recipeDigest: 'b'.repeat(64) }));
  expect(kind).toBe('resumed');
  expect(document).toMatchObject({ state: 'running', failure: null, recipeDigest: 'b'.repeat(64) });
});

test("another run's folder is refused, naming both", async () => {
  const storage = await newRun(root);
  await claimRun(storage, buildClaim('a'));
  await expect(claimRun(storage, buildClaim('b'))).rejects.toThrow(/belongs to the run 'a'.* not to 'b'/);
  await expect(updateRunDocument(storage, 'b', { state: 'failed' })).rejects.toThrow(CheckpointError);
});

test('claiming a completed run reports it and changes nothing', async () => {
  const storage = await newRun(root);
  await claimRun(storage, buildClaim('a'));
  const documentBefore = await updateRunDocument(storage, 'a', { state: 'completed' });
  expect(await claimRun(storage, buildClaim('a'))).toEqual({ kind: 'completed', document: documentBefore });
  expect(await readRunDocument(storage)).toEqual(documentBefore);
});

test('a resume with changes of guarded keys is refused and lists them; other changes are accepted', async () => {
  const storage = await newRun(root);
  await claimRun(storage, buildClaim('a'));
  const longerRecipe = { ...recipe, training: { ...recipe.training, num_epochs: 5 } };
  await claimRun(storage, buildClaim('a', { recipes: { previous: recipe, next: longerRecipe } }));
  const changedRecipe = { ...recipe, seed: 2, peft: { rank: 4 }, training: { optimizer: { name: 'sgd' } } };
  await expect(
    claimRun(storage, buildClaim('a', { recipes: { previous: recipe, next: changedRecipe } })),
  ).rejects.toThrow(/cannot continue with another peft, seed, training\.optimizer\.name: restore those keys/);
});

test('keys are compared by value, whatever their order, and null equals absence', () => {
  expect(differingKeys({ a: { x: 1, y: [1, 2] } }, { a: { y: [1, 2], x: 1 } }, ['a'])).toEqual([]);
  expect(differingKeys({ a: { x: null } }, { a: {} }, ['a'])).toEqual([]);
  expect(differingKeys({ a: { x: 1 } }, {}, ['a'])).toEqual(['a']);
  expect(differingKeys({ a: { y: [1, 2] } }, { a: { y: [2, 1] } }, ['a.y'])).toEqual(['a.y']);
});

test('starting over drops checkpoints, metrics and evaluations, keeps what was published, and fences the old run', async () => {
  const storage = await newRun(root);
  await claimRun(storage, buildClaim('a'));
  const oldSaver = await newSaver(storage);
  await save(oldSaver, 10);
  await storage.write('metrics.jsonl', Buffer.from('{}\n'));
  await storage.write('loggers/csv.json', Buffer.from('{}'));
  await storage.write('evaluation/history.json', Buffer.from('{}'));
  await storage.write(`evaluation/step-10-${'a'.repeat(12)}/facts/shard-00000.json`, Buffer.from('{}'));
  await storage.write('samples/facts.jsonl', Buffer.from('{"id":"1","prompt":"?","answers":{"10":"!"}}\n'));
  await storage.write('final/config.json', Buffer.from('{}'));
  expect((await claimRun(storage, buildClaim('a', { fresh: true }))).kind).toBe('new');
  expect(await newestSound(storage)).toEqual({ entry: null, damage: [] });
  expect(readdirSync(storage.folder).sort()).toEqual(['commits', 'final', 'run.json']);
  await expect(save(oldSaver, 11)).rejects.toThrow(FencedError);
  expect((await takeGeneration(storage, { holder: 'pool.host.2', worldSize: 1 })).generation).toBe(3);
});

test("starting over in another run's folder is refused, and that run keeps its checkpoints", async () => {
  const storage = await newRun(root);
  await claimRun(storage, buildClaim('a'));
  await save(await newSaver(storage), 10);
  await expect(claimRun(storage, buildClaim('b', { fresh: true }))).rejects.toThrow(
    /belongs to the run 'a' \(running\), not to 'b'/,
  );
  const { entry, damage } = await newestSound(storage);
  expect([entry?.trainer.step, damage]).toEqual([10, []]);
});

test.each([true, false])(
  "a folder with a user's files and no run.json is refused (fresh: %s)",
  async (fresh) => {
    const storage = await newRun(root);
    const userFiles = ['evaluation/my_notes.txt', 'metrics.jsonl', 'samples/mine.jsonl'];
    for (const key of userFiles) await storage.write(key, Buffer.from('mine'));
    await expect(claimRun(storage, buildClaim('a', { fresh }))).rejects.toThrow(
      /is not empty .*evaluation\/my_notes\.txt.* no run\.json.*output_dir/,
    );
    for (const key of userFiles) expect((await storage.read(key)).toString()).toBe('mine');
  },
);

test("starting over leaves a user's own files in evaluation/, samples/ and loggers/ alone", async () => {
  const storage = await newRun(root);
  await claimRun(storage, buildClaim('a'));
  const userFiles = [
    'evaluation/my_notes.txt',
    'evaluation/step-by-step.md',
    'samples/mine.jsonl',
    'samples/a.txt',
    'loggers/notes.txt',
  ];
  for (const key of userFiles) await storage.write(key, Buffer.from('mine'));
  await claimRun(storage, buildClaim('a', { fresh: true }));
  for (const key of userFiles) expect((await storage.read(key)).toString()).toBe('mine');
});

test('a folder with commits but without run.json is refused', async () => {
  const storage = await newRun(root);
  await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  await expect(claimRun(storage, buildClaim('a'))).rejects.toThrow(
    /commits\/00000001\.json.* no run\.json that names its run/,
  );
});

test.each([
  ['cut short', '{"version": 1, "run"', /run\.json: not valid JSON/],
  ['of another version', '{"version": 2}', /run\.json: not a run document of this version: version/],
])('a run.json that is %s is refused, and the error says why', async (_, text, message) => {
  const storage = await newRun(root);
  await claimRun(storage, buildClaim('a'));
  writeFileSync(path.join(storage.folder, 'run.json'), text);
  await expect(claimRun(storage, buildClaim('a'))).rejects.toThrow(message);
});
