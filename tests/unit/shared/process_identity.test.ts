/** The state of processes as seen from here and from other namespaces: a running one is never called gone. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  identifyProcess,
  ownIdentity,
  ownProcessTag,
  type ProcessIdentity,
  processState,
  taggedProcessState,
} from '../../../shared/process_identity.js';

const identity = ownIdentity();

function endedProcess(): ProcessIdentity {
  return { ...identity, pid: spawnSync('true').pid };
}

test('this process is alive, and one that has ended is gone', () => {
  expect(processState(identity)).toBe('alive');
  expect(identifyProcess(process.pid)).toEqual(identity);
  const former = endedProcess();
  expect(identifyProcess(former.pid)).toBeNull();
  expect(processState(former)).toBe('gone');
});

test('a process whose id now belongs to another one is gone', () => {
  expect(processState({ ...identity, started: '1' })).toBe('gone');
});

test.each([
  ['another boot', { boot: 'an earlier one' }],
  ['another PID namespace', { pidNamespace: 'pid:[1]' }],
  ['another user', { user: identity.user + 1 }],
  ['another machine', { machine: 'f'.repeat(32) }],
] as const)('the state of an ended process of %s is unknown', (_, change) => {
  expect(processState({ ...endedProcess(), ...change })).toBe('unknown');
});

test('a tag gives the same state as the identity', () => {
  const tag = ownProcessTag();
  expect(taggedProcessState(tag)).toBe('alive');
  const scope = tag.split('-')[0]!;
  expect(taggedProcessState(`${scope}-${identity.pid}-1`)).toBe('gone');
  expect(taggedProcessState(`${scope}-${endedProcess().pid}-${identity.started}`)).toBe('gone');
  expect(taggedProcessState(`${'0'.repeat(16)}-${identity.pid}-1`)).toBe('unknown');
  expect(taggedProcessState(String(identity.pid))).toBe('unknown');
});

const module = pathToFileURL(path.resolve('dist/shared/process_identity.js')).href;
const judgeSource = `
  const { ownIdentity, processState, taggedProcessState } = await import(${JSON.stringify(module)});
  const { identity, tag, asOwn } = JSON.parse(process.argv[1]);
  const judged = asOwn ? { ...ownIdentity(), pid: identity.pid, started: identity.started } : identity;
  console.log(processState(judged), taggedProcessState(tag));`;

/**
 * Returns how a process started by `command` judges this one; `asOwn` presents it as one of the judge's own scope and
 * user.
 */
function judgeFrom(command: string[], asOwn = false): string {
  const argument = JSON.stringify({ identity, tag: ownProcessTag(), asOwn });
  const [program, ...parameters] = [...command, process.execPath, '--input-type=module', '-e', judgeSource];
  const { stdout, stderr } = spawnSync(program!, [...parameters, argument], { encoding: 'utf8' });
  return stdout.trim() || stderr;
}

/** Namespaces need privileges that CI has and a plain user's account may lack. */
const isPrivileged = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;
const privileged = isPrivileged ? test : test.skip;

test('another process of the same boot and namespace sees this one alive', () => {
  expect(judgeFrom(['env'])).toBe('alive alive');
});

privileged('from another PID namespace with the same host name this process is unknown', () => {
  expect(judgeFrom(['unshare', '--pid', '--fork', '--mount-proc'])).toBe('unknown unknown');
});

privileged('from another PID namespace that sees the old /proc this process is unknown', () => {
  expect(judgeFrom(['unshare', '--pid', '--fork'])).toBe('unknown unknown');
});

privileged('from a machine with another machine id this process is unknown', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'temper-identity-'));
  try {
    const file = path.join(folder, 'machine-id');
    writeFileSync(file, `${'0'.repeat(32)}\n`);
    const mount = `mount --bind ${file} /etc/machine-id && exec "$@"`;
    expect(judgeFrom(['unshare', '-m', 'sh', '-c', mount, 'sh'])).toBe('unknown unknown');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

privileged('a process that /proc hides is unknown', () => {
  const hide =
    'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"';
  expect(judgeFrom(['unshare', '-m', 'sh', '-c', hide, 'sh'], true)).toBe('unknown unknown');
});
