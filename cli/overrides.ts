/** Recipe keys without a dot that the command line may set all the same. */
const topLevel = new Set(['name', 'seed', 'output_dir', 'peft', 'extends']);

const isOverride = (argument: string): boolean => {
  const key = /^--([A-Za-z_][\w.-]*)(=|$)/.exec(argument)?.[1];
  return key !== undefined && (key.includes('.') || topLevel.has(key));
};

/**
 * Takes `--any.key=value` and `--any.key value` out of a command line.
 *
 * @returns what is left for the command's own flags, and the overrides as `any.key=value`
 */
export function takeOverrides(argv: readonly string[]): { rest: string[]; overrides: string[] } {
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
