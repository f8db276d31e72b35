/** Globs of paths and of dotted names. */
import {
  character,
  choice,
  compile,
  literal,
  type Matcher,
  type Pattern,
  repeat,
  sequence,
} from './automaton.js';
import { readClass } from './character_class.js';

/** Characters that make a path a pattern. */
const special = /[*?[{]|[@+](?=\()/;

export interface GlobOptions {
  /** True when `*` and `?` may match a dot that a name begins with, as that of hidden files. */
  dot: boolean;
}

/**
 * Compiles a glob that must match a path as a whole: `*` and `?` within a name, `**` over folders, `[a-z]`, `{a,b}`,
 * `{1..12}`, and `@(a|b)`, `?(…)`, `*(…)`, `+(…)`.
 *
 * @param key the recipe's key that holds it
 * @throws UsageError that says what is not understood
 */
export function compileGlob(source: string, key: string, options: GlobOptions): Matcher {
  return compile(source, key, 'a glob', () => new GlobParser(source, options).parse());
}

export const isGlob = (path: string): boolean => special.test(path);

/** Returns the folder above everything that a glob can match. */
export function globBase(source: string): string {
  const steps = source.split('/');
  const base = steps.slice(
    0,
    steps.findIndex((step) => special.test(step)),
  );
  return base.join('/') || (source.startsWith('/') ? '/' : '.');
}

const inName = character((letter) => letter !== '/');
const notHidden = character((letter) => letter !== '/' && letter !== '.');

class GlobParser {
  readonly #letters: string[];
  readonly #dot: boolean;
  readonly #lists: ReadonlySet<number>;
  #at = 0;

  constructor(source: string, { dot }: GlobOptions) {
    this.#letters = [...source];
    this.#dot = dot;
    this.#lists = openingsOfLists(this.#letters);
  }

  parse(): Pattern {
    return this.#until('');
  }

  /** Reads up to one of `ends`, which is left standing. */
  #until(ends: string): Pattern {
    const items: Pattern[] = [];
    while (this.#at < this.#letters.length && !ends.includes(this.#letters[this.#at]!))
      items.push(this.#item());
    return sequence(items);
  }

  #item(): Pattern {
    const letter = this.#letters[this.#at]!;
    const first = this.#at === 0 || this.#letters[this.#at - 1] === '/';
    if ('@?*+!'.includes(letter) && this.#letters[this.#at + 1] === '(') return this.#extended(letter);
    this.#at += 1;
    if (letter === '*') return this.#star(first);
    if (letter === '?') return first && !this.#dot ? notHidden : inName;
    if (letter === '[') {
      const { test, end } = readClass(
        this.#letters,
        this.#at,
        '!^',
        (escaped) => (other) => other === escaped,
      );
      this.#at = end;
      return character((other) => other !== '/' && test(other));
    }
    if (letter === '{') return this.#braces();
    if (letter !== '\\') return literal(letter);
    this.#at += 1;
    return literal(this.#letters[this.#at - 1] ?? '\\');
  }

  #star(first: boolean): Pattern {
    const wide =
      first && this.#letters[this.#at] === '*' && [undefined, '/'].includes(this.#letters[this.#at + 1]);
    while (this.#letters[this.#at] === '*') this.#at += 1;
    const name = this.#dot ? repeat(inName, 1, null) : sequence([notHidden, repeat(inName, 0, null)]);
    if (!wide) return first ? choice([sequence([]), name]) : repeat(inName, 0, null);
    if (this.#letters[this.#at] !== '/')
      return sequence([repeat(sequence([name, literal('/')]), 0, null), name]);
    this.#at += 1;
    return repeat(sequence([name, literal('/')]), 0, null);
  }

  /** Parses `{a,b}` or `{1..12}`; braces without either are literal. */
  #braces(): Pattern {
    const start = this.#at;
    const range = /^(\d{1,4})\.\.(\d{1,4})\}/.exec(this.#letters.slice(start, start + 11).join(''));
    if (range !== null) {
      this.#at += range[0].length;
      const [from, to] = [Number(range[1]), Number(range[2])].sort((a, b) => a - b) as [number, number];
      const numbers = Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
      return choice(numbers.map((number) => sequence([...number].map(literal))));
    }
    if (!this.#lists.has(start - 1)) return literal('{');
    return choice(this.#alternatives(',', '}'));
  }

  #extended(sign: string): Pattern {
    if (sign === '!') throw new SyntaxError("'!(' is not supported; name what is wanted");
    this.#at += 2;
    const items = this.#alternatives('|', ')');
    const most = sign === '*' || sign === '+' ? null : 1;
    return repeat(choice(items), sign === '@' || sign === '+' ? 1 : 0, most);
  }

  #alternatives(separator: string, end: string): Pattern[] {
    const items: Pattern[] = [];
    for (;;) {
      items.push(this.#until(separator + end));
      const letter = this.#letters[this.#at++];
      if (letter === end) return items;
      if (letter === undefined) throw new SyntaxError(`a '${end}' is missing`);
    }
  }
}

/** Returns the indices of the braces that hold a list: closed, with a comma of their own. Others are literal. */
function openingsOfLists(letters: readonly string[]): Set<number> {
  const lists = new Set<number>();
  const open: { index: number; comma: boolean }[] = [];
  for (let index = 0; index < letters.length; index += 1) {
    const letter = letters[index];
    if (letter === '\\') index += 1;
    else if (letter === '{') open.push({ index, comma: false });
    else if (letter === ',' && open.length > 0) open.at(-1)!.comma = true;
    else if (letter === '}') {
      const innermost = open.pop();
      if (innermost?.comma) lists.add(innermost.index);
    }
  }
  return lists;
}
