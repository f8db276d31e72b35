// Prepares mock data in a process of its own, which kills itself. Arguments: cache folder, documents, the number of the
// progress report at which it does.
import { prepareData } from '../../../components/datasets/llm/index.js';

const [cache, documents, killAt] = process.argv.slice(2) as [string, string, string];
let reports = 0;
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
  onProgress: () => {
    reports += 1;
    if (reports === Number(killAt)) process.kill(process.pid, 'SIGKILL');
  },
});
process.stdout.write('done\n');
