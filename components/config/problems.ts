import { InvalidRecipe, type RecipeProblem } from '../../shared/errors.js';
import { dotted, type Origin, type Path } from './tree.js';

/** More are counted: a failure travels through a history, which takes 2 MiB. */
const maxListed = 200;

/** Collects problems, so that a recipe's author sees all of them at once. */
export class Problems {
  readonly found: RecipeProblem[] = [];

  add(path: Path, message: string, origin: Origin | null): void {
    const text = origin?.override ? `${message} (set by ${origin.override})` : message;
    this.found.push({
      key: dotted(path),
      message: text,
      file: origin?.file ?? null,
      line: origin?.line ?? null,
      column: origin?.column ?? null,
    });
  }

  /** @throws InvalidRecipe when anything was found, problems in the order of their locations */
  throwIfAny(): void {
    if (this.found.length === 0) return;
    const seen = new Set<string>();
    const unique = this.found.filter((problem) => {
      const identity = JSON.stringify(problem);
      return !seen.has(identity) && seen.add(identity);
    });
    const sorted = unique.sort((a, b) => {
      if (a.file !== b.file) return 0;
      return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
    });
    const rest = sorted.length - maxListed;
    const more = { key: '', message: `and ${rest} more`, file: null, line: null, column: null };
    throw new InvalidRecipe(rest > 0 ? [...sorted.slice(0, maxListed), more] : sorted);
  }
}
