/** The variables of a process's environment that a recipe may name: those that its operator lists, and no others. */

/** Matches names of credentials, which no pattern and no prefix covers. */
const secretName = /TOKEN|KEY|SECRET|PASSW|CREDENTIAL/i;

export const isNamedLikeSecret = (variable: string): boolean => secretName.test(variable);

/**
 * Returns the entries of `TEMPER_RECIPE_ENV`: names separated by commas, of which one that ends in `*` covers all names
 * with that beginning.
 */
export function listedVariables(environment: NodeJS.ProcessEnv = process.env): string[] {
  return (environment.TEMPER_RECIPE_ENV ?? '').split(',').flatMap((name) => name.trim() || []);
}

/**
 * Returns whether a recipe may read a variable: `listed` where it may, `secret` where only a pattern covers it and it is named
 * like a credential.
 */
export function lookUp(variable: string, listed: readonly string[]): 'listed' | 'secret' | 'unlisted' {
  if (listed.includes(variable)) return 'listed';
  const matches = listed.some(
    (entry) => entry.length > 1 && entry.endsWith('*') && variable.startsWith(entry.slice(0, -1)),
  );
  if (!matches) return 'unlisted';
  return isNamedLikeSecret(variable) ? 'secret' : 'listed';
}
