/** The environment as a recipe may read it. */
import { lookUp } from '../../shared/recipe_environment.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The variable that the examples name; the quickstart sets it to the model that it has fetched. */
const exampleVariable = 'TEMPER_QUICKSTART_MODEL';

/** Returns why a recipe may not read a variable; null when it may. */
export function variableProblem(name: string, listed: readonly string[]): string | null {
  const found = lookUp(name, listed);
  if (found === 'listed' || name === exampleVariable) return null;
  const remedy = `set TEMPER_RECIPE_ENV=${name} where the worker runs, unless it is a secret: whoever writes a recipe can read it`;
  if (found === 'unlisted') return `the environment variable ${name} is not listed for recipes; ${remedy}`;
  return `the environment variable ${name} is named like a credential, and a pattern cannot list such names for recipes; ${remedy}`;
}
