/** A `temporal.config.js` with small bounds and a dataset type that does in each step what an input must never do to a worker. */
import { z } from 'zod';
import { registerDataset } from '../../../components/datasets/llm/index.js';
import { defineConfig } from '../../../shared/installation.js';

const acts = ['loop', 'allocate', 'abort', 'nothing'] as const;

/** `reading` is done where the recipe is validated, `preparing` in the course of prepareData. */
const schema = z
  .strictObject({
    dataset_type: z.literal('hostile'),
    reading: z.enum(acts).default('nothing'),
    preparing: z.enum(acts).default('nothing'),
  })
  .refine(({ reading }) => act(reading));

const buffers: Buffer[] = [];

function act(what: (typeof acts)[number]): true {
  if (what === 'abort') process.abort();
  while (what === 'loop');
  while (what === 'allocate') buffers.push(Buffer.alloc(2 ** 24, 1));
  return true;
}

const tight = { memory: 2 ** 29, seconds: 10 };

export default defineConfig({
  worker: { bounds: { admit: tight, prepareData: tight, shardModel: tight, evaluate: tight } },
  register() {
    registerDataset<z.output<typeof schema>>({
      type: 'hostile',
      schema,
      needsTokenizer: false,
      source: { kind: 'generated', rows: ({ preparing }) => (act(preparing) ? 8 : 0) },
      convert: () => [{ ids: Int32Array.of(1, 2, 3), labels: Int32Array.of(1, 2, 3) }],
    });
  },
});
