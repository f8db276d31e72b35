/** Tests how often a preparation reads the chunks that its threads have tokenized. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

/** The system's own functions, of which modules that are loaded later take what is there by then. */
const filesystem = createRequire(import.meta.url)('node:fs/promises') as typeof import('node:fs/promises');
const { readFile } = filesystem;
const read: string[] = [];

beforeAll(() => {
  filesystem.readFile = (async (file: string, ...options: never[]) => {
    const content = await readFile(file, ...options);
    if (String(file).endsWith('.chunk')) read.push(path.basename(file));
    return content;
  }) as typeof readFile;
});
afterAll(() => {
  filesystem.readFile = readFile;
});

test('a fresh preparation decodes each chunk once', async () => {
  const { dataSchema, prepareData } = await import('../../../components/datasets/llm/index.js');
  const cache = mkdtempSync(path.join(os.tmpdir(), 'temper-chunks-'));
  try {
    const train = { dataset_type: 'mock_packed', packs: 9000, vocabulary_size: 50 };
    const { index } = await prepareData({
      dataset: dataSchema.parse({ train }).train,
      packedSequenceSize: 8,
      tokenizer: null,
      vocabularySize: 50,
      cache,
    });
    expect(index.packs).toBe(9000);
    expect(read.length).toBeGreaterThan(1);
    expect(new Set(read).size).toBe(read.length);
  } finally {
    rmSync(cache, { recursive: true });
  }
});
