/** Text functions of Python where JavaScript's differ: benchmark definitions are written in them. */

/** The characters for which `str.isspace` is true, and which `\s` matches. */
const space = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const leading = new RegExp(`^[${space}]+`);
const oneSpace = new RegExp(`[${space}]`);
const runs = new RegExp(`[${space}]+`);

/** Returns what Python's `str.strip()` does. */
export const strip = (text: string): string => rstrip(text).replace(leading, '');

/** Returns what Python's `str.rstrip()` does. */
export function rstrip(text: string): string {
  // A regular expression that ends with $ would try each run of spaces from each of its positions.
  let end = text.length;
  while (end > 0 && oneSpace.test(text[end - 1]!)) end -= 1;
  return text.slice(0, end);
}

/** Returns what Python's `str.split()` does. */
export const split = (text: string): string[] => text.split(runs).filter((word) => word !== '');

/**
 * Splits as Python's `re.split(r"\s+", text)`: unlike `split`, empty at either end where the text begins or ends with
 * space.
 */
export const splitAtSpace = (text: string): string[] => text.split(runs);

/** Capitalizes as Python's `str.capitalize()`: the first character upper case, all others lower case. */
export function capitalize(text: string): string {
  const [first = ''] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/** Returns `len(text)`: code points. */
export const length = (text: string): number => [...text].length;
