import type { CommandContext } from '@stricli/core';

/** What every command gets: the process, and the recipe keys set on the command line. */
export interface Context extends CommandContext {
  readonly process: NodeJS.Process;
  /** `any.key=value`, in the order given. */
  readonly overrides: readonly string[];
}
