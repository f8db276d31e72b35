/**
 * The errors Temper throws. Each says what was wrong, where (file, line, key, tensor) and what to do; only `cli/`
 * prints them and chooses an exit code. `code` is stable and crosses process borders as a Temporal failure type.
 */
export class TemperError extends Error {
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

/** One problem in a recipe, with its place in the file where there is one. */
export interface RecipeProblem {
  /** Dotted key, e.g. `training.optimizer.name`; empty for the file as a whole. */
  key: string;
  message: string;
  file: string | null;
  /** From 1. */
  line: number | null;
  column: number | null;
}

/** A recipe that cannot be run as it stands. Lists every problem at once. */
export class InvalidRecipe extends TemperError {
  readonly problems: readonly RecipeProblem[];

  constructor(problems: readonly RecipeProblem[]) {
    const lines = problems.map((problem) => {
      const place =
        problem.file === null ? '' : `${problem.file}:${problem.line ?? 1}:${problem.column ?? 1}: `;
      return `${place}${problem.key === '' ? '' : `${problem.key}: `}${problem.message}`;
    });
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    super('InvalidRecipe', `the recipe has ${count}\n${lines.map((line) => `  ${line}`).join('\n')}`);
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

/** Storage that refused, ran full or lies outside the allowed roots. */
export class StorageError extends NamedError {}

/** The native engine could not be loaded, or refused a plan or a tensor. */
export class EngineError extends NamedError {}

/** Training became non-finite and was stopped before the update. */
export class NonFiniteError extends NamedError {}

/** The job does not fit the memory it would be given. */
export class OutOfMemoryError extends NamedError {}

/** A service (Temporal, object store, hub) cannot be reached. */
export class ServiceUnavailable extends NamedError {}

/** An optional package is not installed. */
export class MissingPackage extends TemperError {
  constructor(name: string, purpose: string) {
    super(
      'MissingPackage',
      `${purpose} needs the package '${name}', which is not installed: npm install ${name}`,
    );
  }
}
