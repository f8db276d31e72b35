/** Flags that several commands have, declared once. */
import { numberParser } from '@stricli/core';

export const jsonFlag = {
  kind: 'boolean',
  brief: 'print exactly one JSON object on stdout',
  default: false,
} as const;

/** Returns a flag that takes text. */
export const text = (brief: string) => ({ kind: 'parsed', parse: String, brief }) as const;

/** Returns a flag that takes text and may be left out. */
export const optionalText = (brief: string) => ({ ...text(brief), optional: true }) as const;

/** Returns a parser of numbers that satisfy a condition. @throws SyntaxError that says what is allowed */
export const numberWhere = (holds: (value: number) => boolean, requirement: string) => (input: string) => {
  const value = numberParser(input);
  if (!holds(value)) throw new SyntaxError(`${input} is not ${requirement}`);
  return value;
};

/** Returns a parser of whole numbers from `least` up. */
export const wholeNumber = (least: number) =>
  numberWhere(
    (value) => Number.isSafeInteger(value) && value >= least,
    `a whole number of at least ${least}`,
  );

/** The model that a command works on. */
export interface ModelFlags {
  model: string;
  adapter?: string;
}

export const modelFlags = {
  model: text('model folder, .gguf file or Hugging Face id'),
  adapter: optionalText('PEFT adapter folder'),
} as const;

/** The order of a run: which workflow, and whether it starts over. */
export interface RunFlags {
  json: boolean;
  new: boolean;
  takeOver: boolean;
  id?: string;
}

export const runFlags = {
  json: jsonFlag,
  new: {
    kind: 'boolean',
    brief: 'start over: delete what this run has written to the output folder',
    default: false,
  },
  takeOver: {
    kind: 'boolean',
    brief: 'take over a run that a workflow on another server is driving, and fence off that workflow',
    default: false,
  },
  id: optionalText("workflow id (default: the recipe's name)"),
} as const;

/** Flags that decide how an answer is generated. */
export interface GenerationFlags extends ModelFlags {
  precision: 'fp32' | 'fp16';
  maxNewTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  repetitionPenalty: number;
  stop?: string[];
  seed: number;
}

export const generationFlags = {
  ...modelFlags,
  precision: {
    kind: 'enum',
    values: ['fp32', 'fp16'],
    brief: 'precision of exported weights and of activations; fp16 halves the export',
    default: 'fp32',
  },
  maxNewTokens: {
    kind: 'parsed',
    parse: wholeNumber(1),
    brief: 'maximum number of tokens in an answer',
    default: '512',
  },
  temperature: {
    kind: 'parsed',
    parse: numberWhere((value) => value >= 0, 'a number of at least 0'),
    brief: 'divides the logits; 0 always takes the most likely token (greedy)',
    default: '0',
  },
  topK: {
    kind: 'parsed',
    parse: wholeNumber(0),
    brief: 'sample from the K most likely tokens; 0 for all',
    default: '0',
  },
  topP: {
    kind: 'parsed',
    parse: numberWhere((value) => value > 0 && value <= 1, 'a number above 0 and at most 1'),
    brief: 'sample from the fewest tokens whose probabilities add up to P',
    default: '1',
  },
  repetitionPenalty: {
    kind: 'parsed',
    parse: numberWhere((value) => value > 0, 'above 0'),
    brief: 'above 1: tokens that prompt or answer already contain become less likely',
    default: '1',
  },
  stop: {
    kind: 'parsed',
    parse: String,
    brief: 'end the answer before this text; may be repeated',
    variadic: true,
    optional: true,
  },
  seed: { kind: 'parsed', parse: wholeNumber(0), brief: 'random seed for sampling', default: '0' },
} as const;
