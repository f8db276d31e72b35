/** Tests how the threads that tokenize handle an endless row and a full disk. */
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Dataset, dataSchema, prepareData } from '../../components/datasets/llm/index.js';
import { StorageError } from '../../shared/errors.js';
import { mountingTest, mountTmpfs } from '../support/small_disk.js';
import { temporaryFolder } from '../support/temporary_folder.js';

const cache = temporaryFolder();
const endless = new URL('./support/endless_tokenizer.js', import.meta.url).href;

const options = (train: object) => ({
  dataset: dataSchema.parse({ train }).train as Dataset,
  packedSequenceSize: 32,
  tokenizer: null,
  vocabularySize: null,
  cache,
});

test('a row that is not tokenized in time ends the preparation, and the error names it', async () => {
  const tokenizer = { module: endless, factory: 'endlessTokenizer', argument: null, digest: 'endless' };
  await writeFile(path.join(cache, 'text.jsonl'), '{"text": "one"}\n');
  const text = options({ dataset_type: 'text', path: path.join(cache, 'text.jsonl') });
  await expect(prepareData({ ...text, tokenizer, rowSeconds: 1 })).rejects.toMatchObject({
    code: 'DataError',
    message: expect.stringMatching(/row 1: not read, rendered and tokenized within 1 s/),
  });
}, 60_000);

mountingTest(
  'preparing data on a full disk is a StorageError with the folder and the remedy',
  async () => {
    const smallDisk = path.join(cache, 'small');
    await mkdir(smallDisk);
    mountTmpfs(smallDisk);
    try {
      const mock = options({ dataset_type: 'mock_packed', packs: 20_000, vocabulary_size: 50 });
      const attempt = prepareData({ ...mock, cache: smallDisk });
      await expect(attempt).rejects.toBeInstanceOf(StorageError);
      await expect(attempt).rejects.toThrow(
        new RegExp(`^${smallDisk}: the disk is full.*TEMPER_CACHE.*ENOSPC`),
      );
    } finally {
      execFileSync('umount', [smallDisk]);
    }
  },
  60_000,
);
