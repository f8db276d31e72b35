/** `[a-z_]`: what regular expressions and globs write alike. */

export type CharacterTest = (character: string) => boolean;

/**
 * Reads a class from behind its `[`.
 *
 * @param negation the signs that negate it: `^`, or `!^` for globs
 * @param escaped what a character behind a backslash stands for
 * @returns its test, and the index after its `]`
 * @throws SyntaxError
 */
export function readClass(
  letters: readonly string[],
  from: number,
  negation: string,
  escaped: (letter: string | undefined) => CharacterTest,
): { test: CharacterTest; end: number } {
  let at = from;
  const negated = letters[at] !== undefined && negation.includes(letters[at]!);
  if (negated) at += 1;
  const first = at;
  const tests: CharacterTest[] = [];
  for (;;) {
    const letter = letters[at];
    if (letter === undefined) throw new SyntaxError("'[' is not closed");
    if (letter === ']' && at > first) break;
    if (letter === '\\') {
      tests.push(escaped(letters[at + 1]));
      at += 2;
      continue;
    }
    const last = letters[at + 1] === '-' && letters[at + 2] !== ']' ? letters[at + 2] : undefined;
    if (last === undefined) {
      tests.push((other) => other === letter);
      at += 1;
      continue;
    }
    if (last < letter) throw new SyntaxError(`'${letter}-${last}' runs backwards`);
    tests.push((other) => other >= letter && other <= last);
    at += 3;
  }
  return { test: (other) => tests.some((test) => test(other)) !== negated, end: at + 1 };
}
