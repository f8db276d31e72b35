/** Tests that what is private has a `#`: TypeScript's `private` hides a member from nobody at run time. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../../../..');
const made = ['node_modules', 'dist', 'build'];

const files = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && !made.includes(entry.name))
  .flatMap(({ name }) =>
    readdirSync(path.join(root, name), { recursive: true, encoding: 'utf8' }).map(
      (file) => `${name}/${file}`,
    ),
  )
  .filter((file) => file.endsWith('.ts'));

/** A modifier of a member or of a constructor's parameter. A constructor itself cannot have a `#`. */
const modifier = /^(?!\s*(?:\/?\*|\/\/))(?:.*[(,])?\s*(?:private|protected) (?!constructor\b)\w/;

test('no member is private or protected by a keyword, constructors aside', () => {
  expect(files.length).toBeGreaterThan(500);
  const found = files.flatMap((file) =>
    readFileSync(path.join(root, file), 'utf8')
      .split('\n')
      .flatMap((line, index) => (modifier.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  );
  expect(found).toEqual([]);
});
