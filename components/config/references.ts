/**
 * `${a.b}` stands for another value of the recipe, `${run}` for the id of the run, `${env:X}` and `${env:X:-default}` for
 * those variables of the worker's environment that its operator lists; `$${` is a literal `${`. A reference that is the
 * whole value keeps its type, and may stand for a map or a list.
 */
import { parseDocument } from 'yaml';
import { type Environment, variableProblem } from './environment.js';
import { maxRecipeBytes } from './parse.js';
import type { Problems } from './problems.js';
import { didYouMean } from './suggest.js';
import {
  dotted,
  mapScalars,
  nodeAt,
  type Path,
  type Scalar,
  type ScalarNode,
  scalars,
  type TreeNode,
} from './tree.js';

const pattern = /\$?\$\{([^{}]*)\}/g;
const environmentPattern = /^env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/** More copies than this come from references that double each other. */
const maxSteps = 10_000;

/**
 * Replaces references within the recipe; those to the environment stay as they are written.
 *
 * @param run id of the run; null when nobody has given it another than the recipe's name
 */
export function resolveReferences(root: TreeNode, run: string | null, problems: Problems): TreeNode {
  return new ReferenceResolver(root, run, problems).resolve(root, []);
}

class ReferenceResolver {
  readonly #open: string[] = [];
  #steps = 0;
  /** Keys to suggest, listed once: there may be as many faulty references as keys. */
  #suggested: string[] | null = null;
  readonly #root: TreeNode;
  readonly #run: string | null;
  readonly #problems: Problems;

  constructor(root: TreeNode, run: string | null, problems: Problems) {
    this.#root = root;
    this.#run = run;
    this.#problems = problems;
  }

  resolve(node: TreeNode, path: Path): TreeNode {
    return mapScalars(node, (leaf, leafPath) => this.#leaf(leaf, leafPath), path);
  }

  #leaf(node: ScalarNode, path: Path): TreeNode {
    if (typeof node.value !== 'string' || !node.value.includes('${')) return node;
    this.#steps += 1;
    if (this.#steps > maxSteps) {
      if (this.#steps === maxSteps + 1)
        this.#problems.add(
          path,
          'its references expand to far more values than a recipe may have; remove references to references',
          node.origin,
        );
      return node;
    }
    const reference = new RegExp(`^${pattern.source}$`).exec(node.value);
    if (reference !== null && !node.value.startsWith('$$') && !reference[1]!.startsWith('env:')) {
      return this.#target(reference[1]!, node, path) ?? node;
    }
    const text = node.value.replace(pattern, (match, key: string) => {
      if (match.startsWith('$$') || key.startsWith('env:')) return match;
      const target = this.#target(key, node, path);
      if (target === null) return match;
      if (target.kind !== 'scalar') {
        const kind = target.kind === 'map' ? 'map' : 'list';
        this.#problems.add(path, `\${${key}} is a ${kind} and cannot be used inside text`, node.origin);
        return match;
      }
      return String(target.value);
    });
    if (text.length > maxRecipeBytes) {
      this.#problems.add(
        path,
        'with its references filled in, this text is longer than a recipe may be',
        node.origin,
      );
      return node;
    }
    return { ...node, value: text };
  }

  #target(key: string, node: ScalarNode, path: Path): TreeNode | null {
    const isRun = key.trim() === 'run';
    if (isRun && this.#run !== null) return { ...node, value: this.#run };
    const steps = isRun ? ['name'] : key.trim().split('.');
    const targetNode = nodeAt(this.#root, steps);
    if (targetNode === undefined) {
      this.#suggested ??= suggestedKeys(this.#root);
      const hint = didYouMean(key, this.#suggested);
      this.#problems.add(
        path,
        `\${${key}} names no key of this recipe${hint} (the environment is \${env:${key}})`,
        node.origin,
      );
      return null;
    }
    const ownKey = dotted(path);
    const open = [...this.#open, ownKey];
    const goal = dotted(steps);
    if (open.some((name) => name === goal || name.startsWith(`${goal}.`))) {
      this.#problems.add(path, `references go in a circle: ${[...open, goal].join(' → ')}`, node.origin);
      return null;
    }
    this.#open.push(ownKey);
    const resolved = this.resolve(targetNode, steps);
    this.#open.pop();
    return resolved;
  }
}

function suggestedKeys(root: TreeNode): string[] {
  const keys = [...scalars(root)].map((leaf) => dotted(leaf.path));
  return keys.length > 12 ? keys.filter((name) => name.length < 24).slice(0, 12) : keys;
}

/**
 * Replaces references to the environment. A value that is one reference takes its type as YAML would read it (`8` is
 * a number). With `env` null they are left unchanged.
 *
 * @param listed the variables that may be read (`listedVariables`)
 */
export function resolveEnvironment(
  root: TreeNode,
  env: Environment | null,
  listed: readonly string[],
  problems: Problems,
): TreeNode {
  return mapScalars(root, (node, path) => {
    if (typeof node.value !== 'string' || !node.value.includes('${')) return node;
    const placeholder = node.value;
    let fromEnvironment = false;
    const text = placeholder.replace(pattern, (match, key: string) => {
      if (match.startsWith('$$')) return match.slice(1);
      if (!key.startsWith('env:')) return match;
      fromEnvironment = true;
      const variable = environmentPattern.exec(key);
      if (variable === null) {
        problems.add(
          path,
          `'${match}' is malformed; write \${env:NAME} or \${env:NAME:-default}`,
          node.origin,
        );
        return match;
      }
      if (env === null) return match;
      const [, name, fallback] = variable;
      const refusal = variableProblem(name!, listed);
      if (refusal !== null) {
        problems.add(path, refusal, node.origin);
        return match;
      }
      // As in a shell, `:-` also replaces an empty value.
      const set = env[name!];
      const value = fallback === undefined ? set : set || fallback;
      if (value === undefined) {
        const remedy = `set it where the worker runs, or give a default: \${env:${name}:-…}`;
        problems.add(path, `the environment variable ${name} is not set; ${remedy}`, node.origin);
        return match;
      }
      return value;
    });
    if (!fromEnvironment) return { ...node, value: text };
    const isReference = new RegExp(`^${pattern.source}$`).test(placeholder);
    return { ...node, value: isReference && env !== null ? typed(text) : text, placeholder };
  });
}

function typed(text: string): Scalar {
  const document = parseDocument(text);
  const value: unknown = document.errors.length === 0 ? document.toJS() : text;
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return value;
  return value === null && /^(null|~)$/.test(text) ? null : text;
}
