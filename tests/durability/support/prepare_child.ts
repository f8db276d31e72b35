// Prepares mock data in a process of its own, so that a test can kill it. Arguments: cache folder, documents.
import { prepareData } from '../../../components/datasets/llm/index.js';

const [cache, documents] = process.argv.slice(2) as [string, string];
await prepareData({
  dataset: {
    dataset_type: 'mock',
    documents: Number(documents),
    lengths: { distribution: 'log_uniform', min: 8, max: 256 },
    seed: 3,
    vocabulary_size: 1000,
    long_documents: 'truncate',
  },
  packedSequenceSize: 128,
  tokenizer: null,
  vocabularySize: null,
  cache,
  threads: 2,
  onProgress: ({ fraction }) => process.stdout.write(`${fraction}\n`),
});
process.stdout.write('done\n');
