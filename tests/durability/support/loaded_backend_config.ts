/** A `temporal.config.js` with a task whose score says whether the process that evaluates has the fake device's backend loaded. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { meansOfScores, registerTask } from '../../../components/evaluation/index.js';
import { defineConfig } from '../../../shared/installation.js';

export default defineConfig({
  register() {
    registerTask({
      task: 'backend',
      schema: z.strictObject({ task: z.literal('backend') }),
      needs: 'likelihood',
      partSize: 1,
      metrics: 'is_loaded',
      direction: () => null,
      examples: async () => [{ id: 'one' }],
      async evaluate(examples, _options, model) {
        // The engine is opened with the first of these.
        const [likelihood] = await model.rollingLoglikelihoods(['One, two, three.']);
        const { tokens } = likelihood!;
        const isLoaded = readFileSync('/proc/self/maps', 'utf8').includes('temper-fake.so');
        return examples.map(({ id }) => ({
          id,
          scores: { tokens, is_loaded: Number(isLoaded) },
          details: {},
        }));
      },
      aggregate: meansOfScores,
    });
  },
});
