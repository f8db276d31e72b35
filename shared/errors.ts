/**
 * The errors Temper throws. Each says what was wrong, where (file, line, key, tensor) and what to do; only `cli/`
 * prints them and chooses an exit code. `code` is stable and crosses process borders as a Temporal failure type.
 */
import { formatCount } from './format.js';

/**
 * The retry that can help after an error: none, as it would happen again in just the same way; another try when the
 * disk may have room again, or the service answers; a new process, since the old one's state is not to be trusted.
 */
export type Retry = 'never' | 'storage' | 'service' | 'process';

export class TemperError extends Error {
  static readonly retry: Retry = 'never';
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** An error whose code is the name of its class. */
class NamedError extends TemperError {
  constructor(message: string, options?: ErrorOptions) {
    super(new.target.name, message, options);
  }
}

/** One problem in a recipe, with its location in the file if it has one. */
export interface RecipeProblem {
  /** Dotted key, e.g. `training.optimizer.name`; empty for the file as a whole. */
  key: string;
  message: string;
  file: string | null;
  /** Counted from 1. */
  line: number | null;
  column: number | null;
}

/** A recipe that cannot be run as it is. Lists every problem at once. */
export class InvalidRecipe extends TemperError {
  readonly problems: readonly RecipeProblem[];

  constructor(problems: readonly RecipeProblem[]) {
    const lines = problems.map((problem) => {
      const location =
        problem.file === null ? '' : `${problem.file}:${problem.line ?? 1}:${problem.column ?? 1}: `;
      return `${location}${problem.key === '' ? '' : `${problem.key}: `}${problem.message}`;
    });
    super(
      'InvalidRecipe',
      `the recipe has ${formatCount(problems.length, 'problem')}\n${lines.map((line) => `  ${line}`).join('\n')}`,
    );
    this.problems = problems;
  }
}

/** Wrong command line or option. */
export class UsageError extends NamedError {}

/** Data that is malformed, empty or lacks what the recipe says it has. */
export class DataError extends NamedError {}

/** A model folder, config, tokenizer or weight file that is missing, malformed or does not fit. */
export class ModelError extends NamedError {}

/** A checkpoint or commit log that is damaged, fenced or does not belong to this run. */
export class CheckpointError extends NamedError {}

/** This process was overtaken: a newer generation holds the run, and nothing more may be committed. */
export class FencedError extends NamedError {}

/** Storage that refused, ran full or is outside the allowed roots. */
export class StorageError extends NamedError {
  static override readonly retry = 'storage';
}

/** The native engine could not be loaded, or refused a plan or a tensor. */
export class EngineError extends NamedError {
  static override readonly retry = 'process';
}

/** The device's backend has no kernel for what the plan asks of it. Every process on that device would find the same. */
export class UnsupportedError extends NamedError {}

/** Another rank of the gang is gone: this one computes nothing more, and its generation ends. */
export class PeerLost extends NamedError {
  static override readonly retry = 'process';
}

/** Training became non-finite and was stopped before the update. */
export class NonFiniteError extends NamedError {}

/** The job does not fit the memory it would be given. */
export class OutOfMemoryError extends NamedError {}

/** A service (Temporal, object store, hub) cannot be reached. */
export class ServiceUnavailable extends NamedError {
  static override readonly retry = 'service';
}

/** The process that evaluates tasks ended without an answer. */
export class EvaluatorLost extends NamedError {
  static override readonly retry = 'process';
}

/** The process that generates text ended without an answer. */
export class GeneratorLost extends NamedError {
  static override readonly retry = 'process';
}

/** The process that compares the engine with ONNX Runtime ended without an answer. */
export class EngineLost extends NamedError {
  static override readonly retry = 'process';
}

/** An optional package is not installed. */
export class MissingPackage extends TemperError {
  constructor(name: string, purpose: string) {
    super(
      'MissingPackage',
      `${purpose} needs the package '${name}', which is not installed: npm install ${name}`,
    );
  }
}

/** Error classes by code: an error that crossed a process has nothing else left of its class. */
const retries = new Map<string, Retry>(
  [
    InvalidRecipe,
    UsageError,
    DataError,
    ModelError,
    CheckpointError,
    FencedError,
    StorageError,
    EngineError,
    UnsupportedError,
    PeerLost,
    NonFiniteError,
    OutOfMemoryError,
    ServiceUnavailable,
    EvaluatorLost,
    GeneratorLost,
    EngineLost,
    MissingPackage,
  ].map((kind) => [kind.name, kind.retry]),
);

/**
 * Returns what helps after an error: what its class says; `storage` after one of the operating system or the network,
 * which carries a code such as `ECONNRESET`; `otherwise` after anything else, which is a defect.
 */
export function retryAfter(error: unknown, otherwise: Retry): Retry {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (error instanceof TemperError) return retries.get(code) ?? otherwise;
  return /^E[A-Z0-9]+$/.test(code) ? 'storage' : otherwise;
}
