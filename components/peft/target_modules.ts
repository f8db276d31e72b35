/** Chooses the linear modules that an adapter adapts. */
import { ModelError } from '../../shared/errors.js';
import { compileGlob } from '../../shared/patterns/glob.js';
import { compileRegex } from '../../shared/patterns/regex.js';

const key = 'peft.target_modules';

/**
 * Returns the modules of `modules` (paths such as `model.layers.0.self_attn.q_proj`) that `targets` name, in their
 * order. As in peft, a name matches the end of a path at a dot, `/…/` is a regular expression for the whole path and
 * `all-linear` takes all of them; globs match like names.
 * @throws ModelError naming each target that matches nothing, UsageError for patterns that are not understood
 */
export function matchTargetModules(
  targets: string | readonly string[],
  modules: readonly string[],
): string[] {
  const list = typeof targets === 'string' ? [targets] : targets;
  const matchers = list.map((target) => ({ target, matches: matcher(target) }));
  const idle = matchers.filter(({ matches }) => !modules.some(matches));
  if (idle.length > 0) {
    const names = idle.map(({ target }) => JSON.stringify(target)).join(', ');
    throw new ModelError(
      `peft.target_modules: ${names} matches no linear module of the model; they are ${describe(modules)}`,
    );
  }
  return modules.filter((module) => matchers.some(({ matches }) => matches(module)));
}

function matcher(target: string): (module: string) => boolean {
  if (target.toLowerCase() === 'all-linear') return () => true;
  const regex = /^\/(.*)\/$/s.exec(target);
  if (regex !== null) {
    return compileRegex(regex[1]!, key);
  }
  const glob = compileGlob(target, key, { dot: true });
  return (module) => suffixes(module).some((suffix) => glob(suffix));
}

/** Returns the suffixes of a path: `a.b.c`, `b.c`, `c`. */
function suffixes(module: string): string[] {
  const parts = module.split('.');
  return parts.map((_, i) => parts.slice(i).join('.'));
}

/** Returns the module paths with their layer number left out, each kind once. */
function describe(modules: readonly string[]): string {
  return [...new Set(modules.map((module) => module.replace(/\.\d+\./, '.N.')))].join(', ');
}
