/** `[a-z_]`: what regular expressions and globs write alike. */

export type CharacterTest = (character: string) => boolean;

/**
 * Reads a class from after its `[`.
 *
 * @param negation the signs that negate it: `^`, or `!^` for globs
 * @param escaped the meaning of a character after a backslash
 * @returns its test, and the index after its `]`
 * @throws SyntaxError
 */
export function readClass(
  letters: readonly string[],
  from: number,
  negation: string,
  escaped: (letter: string | undefined) => CharacterTest,
): { test: CharacterTest; end: number } {
  let position = from;
  const negated = letters[position] !== undefined && negation.includes(letters[position]!);
  if (negated) position += 1;
  const first = position;
  const tests: CharacterTest[] = [];
  for (;;) {
    const letter = letters[position];
    if (letter === undefined) throw new SyntaxError("'[' is not closed");
    if (letter === ']' && position > first) break;
    if (letter === '\\') {
      tests.push(escaped(letters[position + 1]));
      position += 2;
      continue;
    }
    const last =
      letters[position + 1] === '-' && letters[position + 2] !== ']' ? letters[position + 2] : undefined;
    if (last === undefined) {
      tests.push((other) => other === letter);
      position += 1;
      continue;
    }
    if (last < letter) throw new SyntaxError(`'${letter}-${last}' runs backwards`);
    tests.push((other) => other >= letter && other <= last);
    position += 3;
  }
  return { test: (other) => tests.some((test) => test(other)) !== negated, end: position + 1 };
}
