import { buildApplication, buildRouteMap, text_en } from '@stricli/core';
import * as commands from './commands.js';
import { describeError, exitCodeOf } from './command/exit.js';

const routes = buildRouteMap({
  routes: {
    run: commands.run,
    start: commands.start,
    watch: commands.watch,
    worker: commands.worker,
    score: commands.score,
    evaluate: commands.evaluate,
    generate: commands.generate,
    chat: commands.chat,
    plan: commands.plan,
    preview: commands.preview,
    validate: commands.validate,
    export: commands.exportModel,
    schema: commands.schema,
    doctor: commands.doctor,
  },
  docs: {
    brief: 'Fine-tunes language models as durable Temporal workflows',
    fullDescription:
      'Fine-tunes language models as durable Temporal workflows: a recipe (YAML) goes in, a Hugging Face model\n' +
      'folder comes out. Recipe keys can be set on the command line: --training.num_epochs=1 --data.train.path=my.jsonl',
  },
});

export const app = buildApplication(routes, {
  name: 'temper',
  versionInfo: { getCurrentVersion: async () => (await import('./command/version.js')).version() },
  scanner: { caseStyle: 'allow-kebab-for-camel' },
  documentation: { caseStyle: 'convert-camel-to-kebab' },
  determineExitCode: exitCodeOf,
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
