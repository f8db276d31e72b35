/** Tests how the threads that tokenize handle a row without end, and a full disk. */
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Dataset, dataSchema, prepareData } from '../../components/datasets/llm/index.js';
import { StorageError } from '../../shared/errors.js';
import { mountTmpfs } from '../support/small_disk.js';
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

test('a row that is not tokenized within its time ends the preparation and is named', async () => {
  const tokenizer = { module: endless, factory: 'endlessTokenizer', argument: null, digest: 'endless' };
  await writeFile(path.join(cache, 'text.jsonl'), '{"text": "one"}\n');
  const text = options({ dataset_type: 'text', path: path.join(cache, 'text.jsonl') });
  await expect(prepareData({ ...text, tokenizer, rowSeconds: 1 })).rejects.toMatchObject({
    code: 'DataError',
    message: expect.stringMatching(/row 1: not read, rendered and tokenized within 1 s/),
  });
}, 60_000);

test('a full disk is a StorageError with the folder and the remedy', async () => {
  const small = path.join(cache, 'small');
  await mkdir(small);
  if (!mountTmpfs(small)) return;
  try {
    const mock = options({ dataset_type: 'mock_packed', packs: 20_000, vocabulary_size: 50 });
    const failed = prepareData({ ...mock, cache: small });
    await expect(failed).rejects.toBeInstanceOf(StorageError);
    await expect(failed).rejects.toThrow(new RegExp(`^${small}: the disk is full.*TEMPER_CACHE.*ENOSPC`));
  } finally {
    execFileSync('umount', [small]);
  }
}, 60_000);
