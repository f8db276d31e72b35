/** Declares commands: flags, help and code together, and heavy imports made only when a command runs. */
import { buildCommand, type Command, type FlagParametersForType } from '@stricli/core';
import type { Context } from './context.js';

interface Help {
  brief: string;
  fullDescription?: string;
}

/** The declaration of a command. @typeParam Flags its flags as they reach `run`; an optional one may be absent */
interface Definition<Flags, Arguments extends readonly string[]> {
  docs: Help;
  flags: FlagParametersForType<Flags, Context>;
  run(this: Context, flags: Flags, ...positional: Arguments): Promise<void>;
}

type NoFlags = Readonly<Record<never, never>>;

interface Positional {
  brief: string;
  placeholder: string;
}

/**
 * Returns a command without a recipe.
 *
 * @param positional the one argument that it takes; left out for none
 */
export function command<Flags extends NoFlags, Arguments extends readonly string[] = []>(
  definition: Definition<Flags, Arguments>,
  positional?: Positional,
): Command<Context> {
  return build(definition, positional ?? null, async () => {
    const { loadInstallation } = await import('../../shared/installation.js');
    // Every command then knows the names that workers know.
    await loadInstallation();
  });
}

/** Returns a command that works where the operator's configuration does not, and reports that. */
export function diagnosticCommand<Flags extends NoFlags>(
  definition: Definition<Flags, []>,
): Command<Context> {
  return build(definition, null, async () => {});
}

function build<Flags extends NoFlags, Arguments extends readonly string[]>(
  definition: Definition<Flags, Arguments>,
  positional: Positional | null,
  prepare: () => Promise<void>,
): Command<Context> {
  const parameters = positional === null ? [] : [{ ...positional, parse: String }];
  type Builder = Parameters<typeof buildCommand<Flags, Arguments, Context>>[0];
  return buildCommand<Flags, Arguments, Context>({
    loader: async () => {
      await prepare();
      return definition.run;
    },
    // Stricli's type for this follows from the arguments' tuple, which it cannot see through the parameter.
    parameters: {
      flags: definition.flags,
      positional: { kind: 'tuple', parameters },
    } as unknown as Builder['parameters'],
    docs: definition.docs,
  });
}

const commandsWithRecipe = new WeakSet<object>();

/** Returns a command whose argument is a recipe file: recipe keys are among its flags (`--training.num_epochs=1`). */
export function recipeCommand<Flags extends NoFlags>(
  definition: Definition<Flags, [recipe: string]>,
): Command<Context> {
  const recipeTaker = command(definition, { brief: 'recipe file', placeholder: 'RECIPE.yaml' });
  commandsWithRecipe.add(recipeTaker);
  return recipeTaker;
}

/** Returns whether recipe keys are among the flags of a command. */
export const takesRecipe = (candidate: object): boolean => commandsWithRecipe.has(candidate);
