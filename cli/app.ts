/** The commands. Each file of commands/ owns its flags, its help and its code. */
import { type Application, buildApplication, buildRouteMap, text_en } from '@stricli/core';
import type { Context } from './command/context.js';
import { takesRecipe } from './command/define.js';
import { describeError, exitCodeFor } from './command/exit.js';
import { commands, registerCommand } from './command/registry.js';
import { chat } from './commands/chat.js';
import { doctor } from './commands/doctor.js';
import { evaluate } from './commands/evaluate.js';
import { exportModel } from './commands/export.js';
import { generate } from './commands/generate.js';
import { plan } from './commands/plan.js';
import { preview } from './commands/preview.js';
import { run } from './commands/run.js';
import { schema } from './commands/schema.js';
import { score } from './commands/score.js';
import { start } from './commands/start.js';
import { validate } from './commands/validate.js';
import { watch } from './commands/watch.js';
import { worker } from './commands/worker.js';

/** The program's own commands, in the order of `temper --help`. */
const ownCommands = {
  run,
  start,
  watch,
  worker,
  score,
  evaluate,
  generate,
  chat,
  plan,
  preview,
  validate,
  export: exportModel,
  schema,
  doctor,
};

for (const [name, command] of Object.entries(ownCommands)) registerCommand(name, command);

/** Returns the names of the commands that take a recipe, and with it recipe keys as flags. */
export const recipeCommands = (): ReadonlySet<string> =>
  new Set(Object.entries(commands()).flatMap(([name, command]) => (takesRecipe(command) ? [name] : [])));

/** Returns the program with every command that is registered by now. */
export function buildApp(): Application<Context> {
  const routes = buildRouteMap({
    routes: commands(),
    docs: {
      brief: 'Fine-tunes language models as durable Temporal workflows',
      fullDescription:
        'Fine-tunes language models as durable Temporal workflows: a recipe (YAML) goes in, a Hugging Face model\n' +
        'folder comes out. Recipe keys can be set on the command line: --training.num_epochs=1 --data.train.path=my.jsonl',
    },
  });
  return buildApplication(routes, {
    name: 'temper',
    versionInfo: { getCurrentVersion: async () => (await import('./command/version.js')).version() },
    scanner: { caseStyle: 'allow-kebab-for-camel' },
    documentation: { caseStyle: 'convert-camel-to-kebab' },
    determineExitCode: exitCodeFor,
    localization: {
      loadText: () => ({
        ...text_en,
        // A command's code is loaded after the operator's configuration, whose errors are not defects.
        exceptionWhileLoadingCommandFunction: describeError,
        exceptionWhileRunningCommand: describeError,
        commandErrorResult: (error: Error) => error.message,
      }),
    },
  });
}
