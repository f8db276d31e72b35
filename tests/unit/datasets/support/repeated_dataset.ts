import { z } from 'zod';
import { registerDataset } from '../../../../components/datasets/llm/index.js';

/** A dataset type as a user would add one: `times` rows of the same token three times. */
const schema = z.strictObject({ dataset_type: z.literal('repeated'), token: z.int(), times: z.int() });

registerDataset<z.output<typeof schema>>({
  type: 'repeated',
  schema,
  needsTokenizer: false,
  source: { kind: 'generated', rows: ({ times }) => times },
  convert: (_, { token }) => [
    { ids: Int32Array.of(token, token, token), labels: Int32Array.of(token, token, token) },
  ],
});
