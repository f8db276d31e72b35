/**
 * Patterns matched in time linear in the text, whatever they are (Thompson 1968): recipes bring them, and a backtracking
 * matcher can be kept busy for ever by thirty characters.
 */

import { UsageError } from '../errors.js';
import { truncate } from '../format.js';

export type Pattern =
  /** One character, of which `test` is true. */
  | { kind: 'character'; test: (character: string) => boolean }
  | { kind: 'sequence'; items: Pattern[] }
  | { kind: 'choice'; items: Pattern[] }
  /** `most` null: without end. */
  | { kind: 'repeat'; item: Pattern; least: number; most: number | null }
  | { kind: 'start' }
  | { kind: 'end' };

/** Matches a text as a whole. */
export type Matcher = (text: string) => boolean;

/** Longest pattern, in characters, and most states of one automaton: counted repetitions multiply. */
const maxPattern = 1000;
const maxStates = 20_000;

export const character = (test: (character: string) => boolean): Pattern => ({ kind: 'character', test });
export const literal = (text: string): Pattern => character((other) => other === text);
export const sequence = (items: Pattern[]): Pattern => ({ kind: 'sequence', items });
export const choice = (items: Pattern[]): Pattern => ({ kind: 'choice', items });
export const repeat = (item: Pattern, least: number, most: number | null): Pattern => ({
  kind: 'repeat',
  item,
  least,
  most,
});

/**
 * Compiles what a recipe's `key` gives.
 *
 * @param kind what it should be, for the error
 * @throws UsageError that names key and pattern, and says what is not understood
 */
export function compile(source: string, key: string, kind: string, parse: () => Pattern): Matcher {
  try {
    if (source.length > maxPattern)
      throw new SyntaxError(`it has ${source.length} characters, and at most ${maxPattern} are allowed`);
    return compileMatcher(parse());
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new UsageError(`${key}: ${truncate(source, 80)} is not ${kind}: ${cause.message}`, { cause });
  }
}

type State =
  | { kind: 'character'; test: (character: string) => boolean; next: number }
  | { kind: 'split'; next: number[] }
  | { kind: 'start' | 'end'; next: number }
  | { kind: 'accept' };

/**
 * Makes a pattern a matcher.
 * @throws SyntaxError where its repetitions multiply beyond all measure
 */
function compileMatcher(pattern: Pattern): Matcher {
  const states: State[] = [{ kind: 'accept' }];
  const first = addStates(states, pattern, 0);
  return (text) => runs(states, first, [...text]);
}

function add(states: State[], state: State): number {
  if (states.length >= maxStates) throw new SyntaxError('its repetitions multiply each other too often');
  return states.push(state) - 1;
}

/** Adds the states of a pattern that continues at `next`; returns the first of them. */
function addStates(states: State[], pattern: Pattern, next: number): number {
  switch (pattern.kind) {
    case 'character':
      return add(states, { kind: 'character', test: pattern.test, next });
    case 'start':
    case 'end':
      return add(states, { kind: pattern.kind, next });
    case 'sequence':
      return pattern.items.reduceRight((after, item) => addStates(states, item, after), next);
    case 'choice':
      return add(states, { kind: 'split', next: pattern.items.map((item) => addStates(states, item, next)) });
    case 'repeat': {
      const { item, least, most } = pattern;
      let after = next;
      if (most === null) {
        const loop: State = { kind: 'split', next: [next] };
        after = add(states, loop);
        loop.next.push(addStates(states, item, after));
      }
      for (let count = least; count < (most ?? least); count += 1)
        after = add(states, { kind: 'split', next: [next, addStates(states, item, after)] });
      for (let count = 0; count < least; count += 1) after = addStates(states, item, after);
      return after;
    }
  }
}

function runs(states: readonly State[], first: number, text: readonly string[]): boolean {
  let current = reachable(states, [first], true, text.length === 0);
  for (const [index, letter] of text.entries()) {
    const next: number[] = [];
    for (const number of current) {
      const state = states[number]!;
      if (state.kind === 'character' && state.test(letter)) next.push(state.next);
    }
    current = reachable(states, next, false, index === text.length - 1);
  }
  return current.has(0);
}

/** Returns the states that are reached from some of them without a character. */
function reachable(
  states: readonly State[],
  from: readonly number[],
  atStart: boolean,
  atEnd: boolean,
): Set<number> {
  const seen = new Set<number>();
  const pending = [...from];
  for (let number = pending.pop(); number !== undefined; number = pending.pop()) {
    if (seen.has(number)) continue;
    seen.add(number);
    const state = states[number]!;
    if (state.kind === 'split') pending.push(...state.next);
    else if (state.kind === 'start' && atStart) pending.push(state.next);
    else if (state.kind === 'end' && atEnd) pending.push(state.next);
  }
  return seen;
}
