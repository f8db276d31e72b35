/** The variables of a process's environment that a recipe may name: those that its operator lists, and no others. */

export type Environment = Readonly<Record<string, string | undefined>>;

/** Names of credentials, which no pattern covers. */
const secretName = /TOKEN|KEY|SECRET|PASSW|CREDENTIAL/i;

/** The variable that the examples name; the quickstart sets it to the model that it has fetched. */
const exampleVariable = 'TEMPER_QUICKSTART_MODEL';

/**
 * Returns the entries of `TEMPER_RECIPE_ENV`: names separated by commas, of which one that ends in `*` covers all names
 * with that beginning.
 */
export function listedVariables(env: Environment = process.env): string[] {
  return (env.TEMPER_RECIPE_ENV ?? '').split(',').flatMap((name) => name.trim() || []);
}

/** Returns why a recipe may not read a variable; null when it may. */
export function variableProblem(name: string, listed: readonly string[]): string | null {
  if (listed.includes(name) || name === exampleVariable) return null;
  const matching = listed.some(
    (entry) => entry.length > 1 && entry.endsWith('*') && name.startsWith(entry.slice(0, -1)),
  );
  const remedy = `set TEMPER_RECIPE_ENV=${name} where the worker runs, unless it is a secret: whoever writes a recipe can read it`;
  if (!matching) return `the environment variable ${name} is not listed for recipes; ${remedy}`;
  if (!secretName.test(name)) return null;
  return `the environment variable ${name} is named like a credential, and a pattern cannot list such names for recipes; ${remedy}`;
}
