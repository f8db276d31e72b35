import { openCheckpoint } from '../../../components/checkpoint/index.js';
import { trainedSources } from '../../../recipes/llm/model_folder/full_weights.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { newRun, newSaver, save } from '../checkpoint/fixture.js';

const root = temporaryFolder();

test('what is published of a checkpoint is decided by the role of each tensor, whatever its name', async () => {
  const storage = await newRun(root);
  const checkpoint = await openCheckpoint(storage, await save(await newSaver(storage), 1));
  expect(Object.keys(checkpoint.tensors)).toEqual(['w', 'adam.m/w', 'scalar']);
  expect(trainedSources(checkpoint).map(({ name }) => name)).toEqual(['w']);
});
