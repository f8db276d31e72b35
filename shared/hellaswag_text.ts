/** HellaSwag's texts as lm-evaluation-harness prepares them: trained on and evaluated by one rule. */
import { strip } from './python_text.js';

/** Returns a text without the marks of WikiHow, from which a part of the data comes. */
export const cleanHellaswag = (text: string): string =>
  withoutBrackets(strip(text).replaceAll(' [title]', '. ')).replaceAll('  ', ' ');

/**
 * Returns Python's `re.sub(r"\\[.*?\\]", "", text)`, whose `.` is all but a newline, without a second look at any
 * bracket.
 */
function withoutBrackets(text: string): string {
  const kept: string[] = [];
  let from = 0;
  for (let open = text.indexOf('['); open >= 0; open = text.indexOf('[', open)) {
    const close = text.indexOf(']', open);
    if (close < 0) break;
    const newline = text.indexOf('\n', open);
    if (newline >= 0 && newline < close) {
      open = newline;
      continue;
    }
    kept.push(text.slice(from, open));
    from = close + 1;
    open = from;
  }
  return kept.join('') + text.slice(from);
}
