/** The environment of child processes: what they need to work, and secrets only for those whose work needs them. */
import { isNamedLikeSecret, listedVariables, lookUp } from '../recipe_environment.js';
import { isS3 } from '../storage/roots.js';

/** Variables that every child process gets. */
const passed = new Set([
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'HOSTNAME',
  'LANG',
  'LANGUAGE',
  'TZ',
  'TZDIR',
  'TMPDIR',
  'TMP',
  'TEMP',
  'GLIBC_TUNABLES',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
]);

/** Beginnings of the names of further ones: of this program, of Node.js, of the hub's client, of native libraries. */
const passedPrefixes = [
  'TEMPER_',
  'NODE_',
  'HF_',
  'LC_',
  'XDG_',
  'LD_',
  'OMP_',
  'GOMP_',
  'ORT_',
  'CUDA_',
  'NVIDIA_',
  'NCCL_',
  'ASAN_',
  'UBSAN_',
  'TSAN_',
  'MALLOC_',
];

/** Variables that a step may receive: the hub's token, the object store's keys. */
export type Credentials = 'hub' | 's3';

const credentialVariables: Record<Credentials, (name: string) => boolean> = {
  hub: (name) => name === 'HF_TOKEN',
  s3: (name) => name.startsWith('AWS_'),
};

const isCredential = (name: string) => Object.values(credentialVariables).some((matches) => matches(name));

/**
 * Returns the environment to start a child process with. In addition to the variables above it has those that the operator lets
 * recipes read (`TEMPER_RECIPE_ENV`), because the child resolves them. What is named like a secret is left out, unless the
 * operator lists it by its name.
 */
export function childEnvironment(environment: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const listed = listedVariables(environment);
  const isPassed = (name: string) =>
    passed.has(name) ||
    lookUp(name, listed) === 'listed' ||
    (passedPrefixes.some((prefix) => name.startsWith(prefix)) && !isNamedLikeSecret(name));
  return select(environment, (name) => isPassed(name) && !isCredential(name));
}

/** Returns the variables that hold credentials of these kinds. */
export function selectCredentials(
  kinds: readonly Credentials[],
  environment: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  return select(environment, (name) => kinds.some((kind) => credentialVariables[kind](name)));
}

/** Returns the object store's keys where one of the locations is in an object store; otherwise nothing. */
export function storageCredentials(
  locations: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  return selectCredentials(locations.some(isS3) ? ['s3'] : [], environment);
}

function select(
  environment: NodeJS.ProcessEnv,
  isAllowed: (name: string) => boolean,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && isAllowed(entry[0]),
    ),
  );
}
