import { command } from '../command/define.js';

export const schema = command<Record<never, never>>({
  docs: { brief: "Print the recipe's JSON Schema, for editors" },
  flags: {},
  async run() {
    const [{ recipeJsonSchema }, { recipeSchema }] = await Promise.all([
      import('../../components/config/index.js'),
      import('../../recipes/admission.js'),
    ]);
    process.stdout.write(`${JSON.stringify(recipeJsonSchema(recipeSchema), null, 2)}\n`);
  },
});
