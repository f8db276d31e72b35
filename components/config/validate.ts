/** A schema's verdict on a recipe, as problems with locations and suggestions. */
import type { z } from 'zod';
import { formatCount, truncate } from '../../shared/format.js';
import { type JsonSchema, knownKeys } from './json_schema.js';
import type { Problems } from './problems.js';
import { didYouMean, suggestion } from './suggest.js';
import { nodeAt, originAt, type Path, scalars, type TreeNode } from './tree.js';

type Issue = z.core.$ZodIssue;

export interface ValidationContext {
  root: TreeNode;
  value: unknown;
  jsonSchema: JsonSchema;
  problems: Problems;
  /** Values that still are `${env:X}` cannot be judged. */
  environmentKnown: boolean;
}

/** Adds one problem for each issue (and for each key of an unknown-keys issue). */
export function reportIssues(issues: readonly Issue[], context: ValidationContext, prefix: Path = []): void {
  for (const issue of issues) {
    const path = [...prefix, ...(issue.path as (string | number)[])];
    const node = nodeAt(context.root, path);
    const fromEnvironment = node?.kind === 'scalar' && node.placeholder !== null;
    if (fromEnvironment && !context.environmentKnown) continue;
    if (issue.code === 'unrecognized_keys') {
      const allowed = knownKeys(context.jsonSchema, context.value, path);
      const unused = allowed.filter((key) => nodeAt(context.root, [...path, key]) === undefined);
      for (const key of issue.keys) {
        const hint = didYouMean(key, suggestion(key, unused) === null ? allowed : unused);
        context.problems.add(
          [...path, key],
          `unknown key${hint}`,
          originAt(context.root, [...path, key], 'key'),
        );
      }
    } else if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      reportIssues(closestBranch(issue.errors), context, path);
    } else if (node === undefined && isAbsence(issue)) {
      context.problems.add(
        path,
        `is required${expectation(issue)}`,
        originAt(context.root, path.slice(0, -1), 'key'),
      );
    } else {
      const text = fromEnvironment
        ? `${hideValues(message(issue, undefined), issue, context.root)} (the value comes from the environment)`
        : hideValues(message(issue, node), issue, context.root);
      context.problems.add(path, text, originAt(context.root, path, 'value'));
    }
  }
}

/** Puts `${env:X}` for its value in a message that a schema made of the values it was given. */
function hideValues(text: string, issue: Issue, root: TreeNode): string {
  if (issue.code !== 'custom') return text;
  let hidden = text;
  for (const { node } of scalars(root)) {
    const value = String(node.value);
    if (node.placeholder !== null && value !== '') hidden = hidden.replaceAll(value, () => node.placeholder!);
  }
  return hidden;
}

/**
 * Returns the member of a union that the author most likely meant: the one that failed deepest, then at the fewest
 * keys.
 */
function closestBranch(branches: readonly Issue[][]): readonly Issue[] {
  const depth = (issues: readonly Issue[]): number =>
    Math.min(...issues.map(({ code, path }) => path.length + (code === 'unrecognized_keys' ? 1 : 0)));
  const inside = branches.filter((issues) => depth(issues) > 0);
  if (inside.length > 0) {
    return inside.reduce((best, issues) => {
      const deeper = depth(issues) - depth(best);
      return deeper > 0 || (deeper === 0 && issues.length < best.length) ? issues : best;
    });
  }
  const [first] = branches[0]!;
  const expected = [
    ...new Set(branches.flatMap((issues) => issues.filter((issue) => issue.path.length === 0).map(shortly))),
  ];
  return [
    {
      code: 'custom',
      path: [],
      message: `expected ${expected.join(', or ')}`,
      input: first?.input,
      params: { words: wordsOf(branches) },
    } as Issue,
  ];
}

const wordsOf = (branches: readonly Issue[][]): unknown[] =>
  branches.flat().flatMap((issue) => (issue.code === 'invalid_value' ? issue.values : []));

function shortly(issue: Issue): string {
  if (issue.code === 'invalid_type') return kindName(issue.expected);
  if (issue.code === 'invalid_value') return `one of ${issue.values.map(String).join(', ')}`;
  return issue.message;
}

const kindNames: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a map of keys',
  record: 'a map of keys',
  array: 'a list',
  tuple: 'a list',
  null: 'null',
};
const kindName = (kind: string): string => kindNames[kind] ?? kind;

function isAbsence(issue: Issue): boolean {
  return (
    issue.code === 'invalid_type' ||
    issue.code === 'invalid_value' ||
    issue.code === 'invalid_union' ||
    issue.code === 'custom'
  );
}

function expectation(issue: Issue): string {
  if (issue.code === 'invalid_type') return ` (${kindName(issue.expected)})`;
  if (issue.code === 'invalid_value') return ` (one of ${issue.values.map(String).join(', ')})`;
  const options: unknown = 'options' in issue ? issue.options : undefined;
  return Array.isArray(options) ? ` (one of ${options.join(', ')})` : '';
}

function message(issue: Issue, node: TreeNode | undefined): string {
  const value = node?.kind === 'scalar' ? node.value : undefined;
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${kindName(issue.expected)}, found ${describeValue(node)}${typeHint(issue.expected, value)}`;
    case 'invalid_value':
      return choice(issue.values, value);
    case 'invalid_union': {
      const options: unknown = 'options' in issue ? issue.options : undefined;
      return Array.isArray(options) ? choice(options, value) : issue.message;
    }
    case 'too_small':
    case 'too_big':
      return bounds(issue);
    case 'custom': {
      const words: unknown = issue.params?.words;
      const hint =
        Array.isArray(words) && typeof value === 'string' ? didYouMean(value, words.map(String)) : '';
      return `${issue.message}${hint.startsWith('; did') ? hint : ''}`;
    }
    default:
      return issue.message;
  }
}

function choice(values: readonly unknown[], value: unknown): string {
  const choices = values.map(String);
  if (typeof value !== 'string') return `expected one of ${choices.join(', ')}`;
  const hint = didYouMean(value, choices);
  const excerpt = truncate(value, 80);
  return `'${excerpt}' is not known here${hint.startsWith('; did') ? `${hint} The choices are ${choices.join(', ')}` : `; the choices are ${choices.join(', ')}`}`;
}

function bounds(issue: Extract<Issue, { code: 'too_small' | 'too_big' }>): string {
  const [limit, inclusive, word] =
    issue.code === 'too_small'
      ? [issue.minimum, issue.inclusive, issue.inclusive ? 'at least' : 'more than']
      : [issue.maximum, issue.inclusive, issue.inclusive ? 'at most' : 'less than'];
  if (issue.origin === 'string') {
    return inclusive && Number(limit) === 1 ? 'may not be empty' : `must have ${word} ${limit} characters`;
  }
  if (issue.origin === 'array') return `must have ${word} ${formatCount(Number(limit), 'item')}`;
  return `must be ${word} ${limit}`;
}

function describeValue(node: TreeNode | undefined): string {
  if (node === undefined) return 'nothing';
  if (node.kind === 'map') return 'a map of keys';
  if (node.kind === 'list') return 'a list';
  if (node.value === null) return 'nothing';
  if (typeof node.value === 'string') return node.value.length > 40 ? 'text' : `the text '${node.value}'`;
  return String(node.value);
}

/** Explains YAML's usual surprises. */
function typeHint(expected: string, value: unknown): string {
  if (typeof value !== 'string') return '';
  if (expected === 'boolean' && /^(yes|on|no|off)$/i.test(value)) {
    return `; write ${/^(yes|on)$/i.test(value) ? 'true' : 'false'}`;
  }
  const number = /^[\d_,.]+(e[+-]?\d+)?$/i.test(value) && Number(value.replace(/[_,]/g, ''));
  if (
    (expected === 'number' || expected === 'int') &&
    typeof number === 'number' &&
    Number.isFinite(number)
  ) {
    return `; write ${number}, without quotes`;
  }
  return '';
}
