/**
 * Regular expressions of a tokenizer.json. They need look-ahead (`\s+(?!\S)`), so a backtracking matcher runs them on every
 * text; a repetition within a repetition, or a choice within one, can keep it busy for ever.
 */
import { ModelError } from '../../shared/errors.js';

const maxPattern = 4000;

/** @throws ModelError naming the first pattern, at any depth, that could take more than polynomial time */
export function checkPatterns(tokenizer: Record<string, unknown>, location: string): void {
  const pending: unknown[] = [tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder];
  while (pending.length > 0) {
    const value = pending.pop();
    if (typeof value !== 'object' || value === null) continue;
    if ('pattern' in value) {
      const { pattern } = value;
      const problem = patternProblem(pattern);
      if (problem !== null)
        throw new ModelError(
          `${location}/tokenizer.json: the pattern ${JSON.stringify(pattern).slice(0, 80)} ${problem}`,
        );
    }
    pending.push(...Object.values(value));
  }
}

interface Group {
  /** True when it holds an unbounded repetition, or a choice. */
  branches: boolean;
}

function patternProblem(pattern: unknown): string | null {
  const { Regex: regex, String: text } = (pattern ?? {}) as { Regex?: unknown; String?: unknown };
  if (typeof regex === 'string') return regexProblem(regex);
  // The library passes such a rule over, and its tokens are then others than the model's.
  return typeof text === 'string' ? null : 'is neither a Regex nor a String';
}

function regexProblem(source: string): string | null {
  if (source.length > maxPattern)
    return `has ${source.length} characters, and at most ${maxPattern} are allowed`;
  const open: Group[] = [{ branches: false }];
  for (let index = 0; index < source.length; index += 1) {
    const letter = source[index];
    if (letter === '\\') index += 1;
    else if (letter === '[') index = endOfClass(source, index);
    else if (letter === '(') open.push({ branches: false });
    else if (letter === '|') open.at(-1)!.branches = true;
    else if (isUnbounded(source, index)) open.at(-1)!.branches = true;
    else if (letter === ')' && open.length > 1) {
      const { branches } = open.pop()!;
      if (branches && isUnbounded(source, index + 1))
        return 'repeats a group that repeats or chooses within, which can take forever';
      if (branches) open.at(-1)!.branches = true;
    }
  }
  return null;
}

const isUnbounded = (source: string, index: number): boolean =>
  source[index] === '*' || source[index] === '+' || /^\{\d*,\}/.test(source.slice(index, index + 12));

/** Returns the index of the `]`; classes may hold classes. */
function endOfClass(source: string, start: number): number {
  let depth = 0;
  for (let index = start; index < source.length; index += 1) {
    if (source[index] === '\\') index += 1;
    else if (source[index] === '[') depth += 1;
    else if (source[index] === ']' && --depth === 0) return index;
  }
  return source.length;
}
