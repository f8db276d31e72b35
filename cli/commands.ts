/** What each command takes. What it does is in commands/, loaded only when it is run. */
import { buildCommand, numberParser } from '@stricli/core';
import type { Context } from './command/context.js';
import type {
  ChatFlags,
  EvaluateFlags,
  ExportFlags,
  GenerateFlags,
  PlanFlags,
  PreviewFlags,
  RunFlags,
  ScoreFlags,
  WatchFlags,
  WorkerFlags,
} from './flags.js';

/** Every command knows what temporal.config.js registers. */
async function extended<Command>(load: () => Promise<Command>): Promise<Command> {
  const { loadInstallation } = await import('../shared/installation.js');
  await loadInstallation();
  return load();
}

const recipeArgument = {
  kind: 'tuple',
  parameters: [{ brief: 'recipe file', placeholder: 'RECIPE.yaml', parse: String }],
} as const;

const jsonFlag = {
  kind: 'boolean',
  brief: 'leave exactly one JSON object on stdout',
  default: false,
} as const;
const idFlag = {
  kind: 'parsed',
  parse: String,
  brief: "workflow id; left out: the recipe's name",
  optional: true,
} as const;
const newFlag = {
  kind: 'boolean',
  brief: 'start over: what the output folder holds of this run is deleted',
  default: false,
} as const;

const takeOverFlag = {
  kind: 'boolean',
  brief: 'continue a run that a workflow on another server drives, and fence that one',
  default: false,
} as const;

export const run = buildCommand<RunFlags, [string], Context>({
  loader: async () => (await extended(() => import('./commands/run.js'))).run,
  parameters: {
    flags: { json: jsonFlag, new: newFlag, takeOver: takeOverFlag, id: idFlag },
    positional: recipeArgument,
  },
  docs: {
    brief: 'Run a recipe and follow it to its end',
    fullDescription:
      'Runs a recipe as a durable workflow and follows it. Uses the Temporal server that the environment or a profile\n' +
      'names, otherwise an embedded one; starts a worker in place where none serves the queue.\n' +
      'Exit codes: 0 completed, 1 failed, 2 wrong usage or recipe, 75 a service is not reachable, 130 interrupted.',
  },
});

export const start = buildCommand<RunFlags, [string], Context>({
  loader: async () => (await extended(() => import('./commands/start.js'))).start,
  parameters: {
    flags: { json: jsonFlag, new: newFlag, takeOver: takeOverFlag, id: idFlag },
    positional: recipeArgument,
  },
  docs: { brief: 'Start a recipe and return at once' },
});

export const watch = buildCommand<WatchFlags, [string], Context>({
  loader: async () => (await extended(() => import('./commands/watch.js'))).watch,
  parameters: {
    flags: { json: jsonFlag },
    positional: {
      kind: 'tuple',
      parameters: [{ brief: 'workflow id of the run', placeholder: 'RUN', parse: String }],
    },
  },
  docs: { brief: 'Follow a run that was started elsewhere' },
});

export const worker = buildCommand<WorkerFlags, [], Context>({
  loader: async () => (await extended(() => import('./commands/worker.js'))).worker,
  parameters: {
    flags: {
      role: { kind: 'enum', values: ['all', 'control', 'host'], brief: 'what to serve', default: 'all' },
      devices: {
        kind: 'parsed',
        parse: String,
        brief: 'auto, or cpu:N for N ranks on the CPU',
        default: 'auto',
      },
      pool: {
        kind: 'parsed',
        parse: String,
        brief: "pool that this host belongs to; left out: the configuration's",
        optional: true,
      },
    },
  },
  docs: { brief: 'Serve workflows and training until SIGTERM' },
});

export const score = buildCommand<ScoreFlags, [], Context>({
  loader: async () => (await extended(() => import('./commands/score.js'))).score,
  parameters: {
    flags: {
      model: { kind: 'parsed', parse: String, brief: 'model folder, .gguf file or Hugging Face id' },
      adapter: { kind: 'parsed', parse: String, brief: 'PEFT adapter folder', optional: true },
      precision: {
        kind: 'enum',
        values: ['fp32', 'bf16'],
        brief: 'of products and activations',
        default: 'fp32',
      },
      input: {
        kind: 'parsed',
        parse: String,
        brief: 'JSON lines with input_ids, text, or prompt and completion',
      },
      output: { kind: 'parsed', parse: String, brief: 'JSON lines with logprobs' },
    },
  },
  docs: { brief: 'Log-probabilities of given tokens or texts' },
});

export const evaluate = buildCommand<EvaluateFlags, [], Context>({
  loader: async () => (await extended(() => import('./commands/evaluate.js'))).evaluate,
  parameters: {
    flags: {
      model: { kind: 'parsed', parse: String, brief: 'model folder, .gguf file or Hugging Face id' },
      adapter: { kind: 'parsed', parse: String, brief: 'PEFT adapter folder', optional: true },
      task: {
        kind: 'parsed',
        parse: String,
        brief: '[NAME=]TASK:key=value,… e.g. hellaswag:path=val.jsonl,limit=100; may be repeated',
        variadic: true,
        optional: true,
      },
      tasks: {
        kind: 'parsed',
        parse: String,
        brief: "YAML file with a list 'tasks', as in a recipe's evaluation section",
        optional: true,
      },
      precision: {
        kind: 'enum',
        values: ['fp32', 'bf16'],
        brief: 'of the products and activations that log-likelihoods come from',
        default: 'fp32',
      },
      json: jsonFlag,
      output: { kind: 'parsed', parse: String, brief: 'JSON lines with every example', optional: true },
    },
  },
  docs: {
    brief: 'Score a model on tasks: multiple choice, question answering, perplexity, JSON',
    fullDescription:
      'Scores a model on tasks: hellaswag, multiple_choice, squad, perplexity, json_fields, samples. Definitions are those\n' +
      'of lm-evaluation-harness and the official SQuAD script; every score comes with its number of examples and standard error.',
  },
});

/** A flag's number, in its range. */
const numberWhere = (holds: (value: number) => boolean, wanted: string) => (text: string) => {
  const value = numberParser(text);
  if (!holds(value)) throw new SyntaxError(`${text} is not ${wanted}`);
  return value;
};
const wholeNumber = (from: number) =>
  numberWhere((value) => Number.isSafeInteger(value) && value >= from, `a whole number from ${from}`);

const answeringFlags = {
  model: { kind: 'parsed', parse: String, brief: 'model folder, .gguf file or Hugging Face id' },
  adapter: { kind: 'parsed', parse: String, brief: 'PEFT adapter folder', optional: true },
  precision: {
    kind: 'enum',
    values: ['fp32', 'fp16'],
    brief: 'of exported weights and of activations; fp16 halves the export',
    default: 'fp32',
  },
  maxNewTokens: {
    kind: 'parsed',
    parse: wholeNumber(1),
    brief: 'tokens of an answer at most',
    default: '512',
  },
  temperature: {
    kind: 'parsed',
    parse: numberWhere((value) => value >= 0, 'a number from 0'),
    brief: 'logits are divided by it; 0 takes the best token (greedy)',
    default: '0',
  },
  topK: {
    kind: 'parsed',
    parse: wholeNumber(0),
    brief: 'draw from the K best tokens; 0 for all',
    default: '0',
  },
  topP: {
    kind: 'parsed',
    parse: numberWhere((value) => value > 0 && value <= 1, 'above 0 and at most 1'),
    brief: 'draw from the fewest tokens whose probabilities reach P',
    default: '1',
  },
  repetitionPenalty: {
    kind: 'parsed',
    parse: numberWhere((value) => value > 0, 'above 0'),
    brief: 'above 1: tokens of prompt and answer become less likely',
    default: '1',
  },
  stop: {
    kind: 'parsed',
    parse: String,
    brief: 'the answer ends before this text; may be repeated',
    variadic: true,
    optional: true,
  },
  seed: { kind: 'parsed', parse: wholeNumber(0), brief: 'of the draws', default: '0' },
} as const;

export const generate = buildCommand<GenerateFlags, [], Context>({
  loader: async () => (await extended(() => import('./commands/generate.js'))).generate,
  parameters: {
    flags: {
      ...answeringFlags,
      prompt: { kind: 'parsed', parse: String, brief: 'one prompt; its answer is streamed', optional: true },
      input: {
        kind: 'parsed',
        parse: String,
        brief: 'JSON lines with prompt, or messages ({"role": …, "content": …})',
        optional: true,
      },
      output: {
        kind: 'parsed',
        parse: String,
        brief: 'JSON lines with completion and finish',
        optional: true,
      },
      raw: {
        kind: 'boolean',
        brief: 'go on with the text as it stands, without a chat template',
        default: false,
      },
      batchSize: { kind: 'parsed', parse: wholeNumber(1), brief: 'prompts answered together', default: '16' },
    },
  },
  docs: {
    brief: 'Answer a prompt, or a file of prompts',
    fullDescription:
      'Answers a prompt, or a file of prompts, with the model exported to ONNX and run by ONNX Runtime. A prompt is put\n' +
      "into the model's chat template where it has one; --raw leaves it as it stands. The export is kept in the cache.",
  },
});

export const chat = buildCommand<ChatFlags, [], Context>({
  loader: async () => (await extended(() => import('./commands/chat.js'))).chat,
  parameters: {
    flags: {
      ...answeringFlags,
      system: { kind: 'parsed', parse: String, brief: 'what the model is told first', optional: true },
    },
  },
  docs: {
    brief: 'Talk with a model',
    fullDescription:
      'Talks with a model in its chat template. Ctrl-C stops an answer, Ctrl-D leaves, /reset forgets the conversation.\n' +
      'Without a terminal every line of the input is answered.',
  },
});

export const plan = buildCommand<PlanFlags, [string], Context>({
  loader: async () => (await extended(() => import('./commands/plan.js'))).plan,
  parameters: {
    flags: {
      json: jsonFlag,
      print: { kind: 'boolean', brief: 'print the whole plan as text', default: false },
    },
    positional: recipeArgument,
  },
  docs: { brief: 'Memory, FLOPs and steps of a recipe, before anything is allocated' },
});

export const preview = buildCommand<PreviewFlags, [string], Context>({
  loader: async () => (await extended(() => import('./commands/preview.js'))).preview,
  parameters: {
    flags: {
      rows: { kind: 'parsed', parse: numberParser, brief: 'rows of each dataset to show', default: '3' },
    },
    positional: recipeArgument,
  },
  docs: { brief: 'Sample rows of the data with their template, and what the loss sees' },
});

export const validate = buildCommand<{ json: boolean }, [string], Context>({
  loader: async () => (await extended(() => import('./commands/validate.js'))).validate,
  parameters: { flags: { json: jsonFlag }, positional: recipeArgument },
  docs: { brief: 'Check a recipe and print it with every default' },
});

export const exportModel = buildCommand<ExportFlags, [string], Context>({
  loader: async () => (await extended(() => import('./commands/export.js'))).exportModel,
  parameters: {
    flags: {
      merge: { kind: 'boolean', brief: 'merge the adapter into the model', default: false },
      onnx: {
        kind: 'enum',
        values: ['fp32', 'fp16'],
        brief: 'add the model for ONNX Runtime, an adapter merged in, compared with the engine',
        optional: true,
      },
      step: {
        kind: 'parsed',
        parse: numberParser,
        brief: 'step of the checkpoint; left out: the newest',
        optional: true,
      },
      output: { kind: 'parsed', parse: String, brief: 'folder, s3:// prefix or hf://owner/name[@branch]' },
    },
    positional: {
      kind: 'tuple',
      parameters: [{ brief: 'output folder of a run', placeholder: 'OUTPUT_DIR', parse: String }],
    },
  },
  docs: {
    brief: 'Publish a checkpoint of a run as a Hugging Face folder',
    fullDescription:
      'Publishes a checkpoint of a run as a Hugging Face folder, with --onnx also for ONNX Runtime: in a folder, on S3 or\n' +
      'on the Hugging Face hub (token in HF_TOKEN). It becomes visible all at once, and replaces an earlier publication only.',
  },
});

export const schema = buildCommand<Record<never, never>, [], Context>({
  loader: async () => (await extended(() => import('./commands/schema.js'))).schema,
  parameters: {},
  docs: { brief: "The recipe's JSON Schema, for editors" },
});

export const doctor = buildCommand<{ json: boolean }, [], Context>({
  loader: async () => (await import('./commands/doctor.js')).doctor,
  parameters: { flags: { json: jsonFlag } },
  docs: { brief: 'Check CPU, memory, engine, Temporal, storage and credentials, each with a remedy' },
});
