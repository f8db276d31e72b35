/** Credentials do not belong in recipes: they would travel through histories, logs and run folders. */
import { stringify } from 'yaml';
import type { Problems } from './problems.js';
import { scalars, type TreeNode } from './tree.js';

const secretKey =
  /(^|[_-])(api[_-]?key|access[_-]?key([_-]id)?|secret([_-]?(access[_-]?)?key)?|private[_-]?key|passw(or)?d|passphrase|token|credentials?)$/i;

/** Words of the tokenizer's trade that end alike. */
const innocentKey =
  /(^|[_-])(bos|eos|pad|unk|sep|cls|mask|special|stop|start|end|image|video|audio|per|tool|added)[_-]token$/i;

const knownForms: readonly [RegExp, string][] = [
  [/hf_[A-Za-z0-9]{20,}/, 'a Hugging Face token'],
  [/\b(AKIA|ASIA)[0-9A-Z]{16}\b/, 'an AWS access key'],
  [/\bsk-[A-Za-z0-9_-]{20,}/, 'an API key'],
  [/\bgh[pousr]_[A-Za-z0-9]{30,}/, 'a GitHub token'],
  [/\bgithub_pat_[A-Za-z0-9_]{30,}/, 'a GitHub token'],
  [/\bglpat-[A-Za-z0-9_-]{20,}/, 'a GitLab token'],
  [/\bxox[abprs]-[A-Za-z0-9-]{10,}/, 'a Slack token'],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----/, 'a private key'],
  // Bounded, and looking backwards from what is rare: a text of one long word is otherwise tried from each of its letters.
  [/\beyJ[A-Za-z0-9_-]{10,512}\.eyJ[A-Za-z0-9_-]{10,}\./, 'a signed token (JWT)'],
  [/(?<=[a-z][a-z0-9+.-]{0,63}):\/\/[^\s/:@]+:[^\s/@]+@/i, 'a URL with a password'],
];

const withoutPlaceholders = (text: string): string => text.replace(/\$\{[^{}]*\}/g, '');

/** Returns the reason that a value counts as a secret, or null. Never returns the value itself. */
function secretForm(key: string, value: unknown): string | null {
  if (typeof value !== 'string') return null;
  const literal = withoutPlaceholders(value);
  const form = knownForms.find(([pattern]) => pattern.test(literal));
  if (form !== undefined) return form[1];
  return literal !== '' && secretKey.test(key) && !innocentKey.test(key) ? `a literal '${key}'` : null;
}

/** Reports every literal secret, by its key and never by its value. */
export function refuseSecrets(root: TreeNode, problems: Problems): void {
  for (const { path, node } of scalars(root)) {
    const key = String(path.findLast((step) => typeof step === 'string') ?? '');
    const form = secretForm(key, node.value);
    if (form === null) continue;
    const remedy =
      "keep it in the worker's environment, where the tools that need it look for it (HF_TOKEN, AWS_…)";
    problems.add(path, `this is ${form}, and a recipe is stored and shown; ${remedy}`, node.origin);
  }
}

/** Returns a copy in which whatever looks like a secret reads `[redacted]`, for logs and errors. */
export function redact(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => redact(item, key));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, redact(entry, name)]));
  }
  return secretForm(key, value) === null ? value : '[redacted]';
}

/** Returns YAML of a recipe as it may be shown: placeholders as written, secrets redacted. */
export function printRecipe(document: unknown): string {
  return stringify(redact(document), { lineWidth: 110 });
}
