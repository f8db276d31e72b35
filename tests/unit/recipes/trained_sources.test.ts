import { openCheckpoint } from '../../../components/checkpoint/index.js';
import { trainedSources } from '../../../recipes/llm/model_folder/full_weights.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { newRun, newSaver, save } from '../checkpoint/fixture.js';

const root = temporaryFolder();

test('the tensors of a checkpoint are published by their role, whatever their names', async () => {
  const storage = await newRun(root);
  const checkpoint = await openCheckpoint(storage, await save(await newSaver(storage), 1));
  expect(Object.keys(checkpoint.tensors)).toEqual(['w', 'adam.m/w', 'scalar']);
  expect(trainedSources(checkpoint).map(({ name }) => name)).toEqual(['w']);
});
