/** Recipe keys set on the command line, told apart from a command's own flags. */

/**
 * Takes `--any.key=value` and `--any.key value` out of the command line of a command that takes a recipe.
 *
 * @param recipeCommands names of those commands; the others have flags of their own that look like recipe keys
 * @param topLevelKeys returns the recipe's own keys, which need no dot; called only for such a command
 * @returns what is left for the command's own flags, and the overrides as `any.key=value`
 */
export async function takeOverrides(
  argv: readonly string[],
  recipeCommands: ReadonlySet<string>,
  topLevelKeys: () => Promise<readonly string[]>,
): Promise<{ rest: string[]; overrides: string[] }> {
  if (!recipeCommands.has(argv[0] ?? '')) return { rest: [...argv], overrides: [] };
  const topLevel = new Set(await topLevelKeys());
  const isOverride = (argument: string): boolean => {
    const key = /^--([A-Za-z_][\w.-]*)(=|$)/.exec(argument)?.[1];
    return key !== undefined && (key.includes('.') || topLevel.has(key));
  };
  const rest: string[] = [];
  const overrides: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    if (!isOverride(argument)) {
      rest.push(argument);
    } else if (argument.includes('=')) {
      overrides.push(argument.slice(2));
    } else {
      const value = argv[index + 1];
      const separate = value !== undefined && !value.startsWith('--');
      overrides.push(`${argument.slice(2)}=${separate ? value : 'true'}`);
      if (separate) index += 1;
    }
  }
  return { rest, overrides };
}
