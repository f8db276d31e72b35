/** Regular expressions: what of JavaScript's and Python's language an automaton can match. */
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
import { type CharacterTest, readClass } from './character_class.js';

const classes: Readonly<Record<string, CharacterTest>> = {
  d: (letter) => /^\d$/.test(letter),
  D: (letter) => !/^\d$/.test(letter),
  w: (letter) => /^\w$/.test(letter),
  W: (letter) => !/^\w$/.test(letter),
  s: (letter) => /^\s$/.test(letter),
  S: (letter) => !/^\s$/.test(letter),
};
const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v' };

/**
 * Compiles a regular expression that must match a text as a whole. It knows literals, `.`, classes, groups, `|`, `^`, `$`
 * and quantifiers; look-around, references and `\b` are refused.
 *
 * @param key the recipe's key that holds it
 * @throws UsageError that says what is not understood
 */
export function compileRegex(source: string, key: string): Matcher {
  return compile(source, key, 'a regular expression', () => new RegexParser(source).parse());
}

class RegexParser {
  readonly #letters: string[];
  #at = 0;

  constructor(source: string) {
    this.#letters = [...source];
  }

  parse(): Pattern {
    const pattern = this.#choice();
    if (this.#at < this.#letters.length) throw new SyntaxError("')' closes no group");
    return pattern;
  }

  #choice(): Pattern {
    const items = [this.#sequence()];
    while (this.#take('|')) items.push(this.#sequence());
    return items.length === 1 ? items[0]! : choice(items);
  }

  #sequence(): Pattern {
    const items: Pattern[] = [];
    while (this.#at < this.#letters.length && !['|', ')'].includes(this.#letters[this.#at]!))
      items.push(this.#quantified(this.#atom()));
    return sequence(items);
  }

  #atom(): Pattern {
    const letter = this.#letters[this.#at++]!;
    switch (letter) {
      case '.':
        return character((other) => other !== '\n' && other !== '\r');
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '(':
        return this.#group();
      case '[': {
        const { test, end } = readClass(this.#letters, this.#at, '^', this.#escapedTest);
        this.#at = end;
        return character(test);
      }
      case '\\':
        return character(this.#escapedTest(this.#letters[this.#at++]));
      case '*':
      case '+':
      case '?':
      case '{':
        throw new SyntaxError(
          `there is nothing before '${letter}'; for the character itself write '\\${letter}'`,
        );
      default:
        return literal(letter);
    }
  }

  #group(): Pattern {
    if (this.#take('?')) {
      const name = /^(:|P?<[A-Za-z_]\w*>)/.exec(this.#letters.slice(this.#at, this.#at + 80).join(''));
      if (name === null) throw new SyntaxError("'(?' opens a group of a kind that is not supported");
      this.#at += name[0].length;
    }
    const inner = this.#choice();
    if (!this.#take(')')) throw new SyntaxError("'(' is not closed");
    return inner;
  }

  #quantified(atom: Pattern): Pattern {
    const rest = this.#letters.slice(this.#at, this.#at + 16).join('');
    const match = /^(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})\??/.exec(rest);
    if (match === null) return atom;
    this.#at += match[0].length;
    const [, sign, least, comma, most] = match;
    if (/^[*+?{]/.test(rest.slice(match[0].length)))
      throw new SyntaxError('two quantifiers follow each other');
    if (sign !== undefined) return repeat(atom, sign === '+' ? 1 : 0, sign === '?' ? 1 : null);
    const from = Number(least);
    const to = comma === undefined ? from : most === '' ? null : Number(most);
    if (to !== null && to < from) throw new SyntaxError(`{${from},${to}} counts downwards`);
    return repeat(atom, from, to);
  }

  readonly #escapedTest = (letter: string | undefined): CharacterTest => {
    if (letter === undefined) throw new SyntaxError("it ends with '\\'");
    if (classes[letter] !== undefined) return classes[letter];
    const control = controls[letter];
    if (control !== undefined) return (other) => other === control;
    if (/^[A-Za-z0-9]$/.test(letter)) throw new SyntaxError(`'\\${letter}' is not supported`);
    return (other) => other === letter;
  };

  #take(letter: string): boolean {
    if (this.#letters[this.#at] !== letter) return false;
    this.#at += 1;
    return true;
  }
}
