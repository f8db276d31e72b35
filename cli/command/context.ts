import type { CommandContext } from '@stricli/core';

/** The context of every command: the process, and the recipe keys set on the command line. */
export interface Context extends CommandContext {
  readonly process: NodeJS.Process;
  /** `any.key=value`, in the order given. */
  readonly overrides: readonly string[];
}
