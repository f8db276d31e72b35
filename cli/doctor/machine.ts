/** The machine and what was built on it: Node, engine, CPU, memory, GPUs, Python. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { totalmem } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { defaultThreads, engineCapabilities, memoryLimit } from '../../engine/index.js';
import { firstLine, formatCount, formatGigabytes } from '../../shared/format.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** ms that a program may take to answer. */
const patience = 5_000;
/** Bytes that the smallest useful model needs with its optimizer and Node. */
const leastMemory = 4e9;

const gigabytes = (bytes: number) => formatGigabytes(bytes, 1);

export function checkNode(version: string = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return ok('node', version);
  return fail('node', `${version} is too old`, 'install Node 20.19 or newer');
}

export function checkEngine(): Finding[] {
  try {
    const { version, isas, cpu } = engineCapabilities();
    const threads = defaultThreads();
    const best = isas[0]!;
    const kernels = `${cpu}; kernels ${isas.join(', ')}; ${formatCount(threads, 'thread')}`;
    const engine = ok('engine', version);
    if (best !== 'portable' || process.arch !== 'x64') return [engine, ok('cpu', kernels)];
    return [
      engine,
      warn('cpu', kernels, 'this CPU has no AVX2: training works, but is several times slower'),
    ];
  } catch (error) {
    return [
      fail(
        'engine',
        firstLine(error),
        'run `npm run setup`; correct or unset TEMPER_THREADS if the message names it',
      ),
    ];
  }
}

export function checkMemory(limit: number = memoryLimit(), total: number = totalmem()): Finding {
  const detail =
    limit < total
      ? `${gigabytes(limit)} (this container's limit; the machine has ${gigabytes(total)})`
      : gigabytes(total);
  if (limit >= leastMemory) return ok('memory', detail);
  return warn(
    'memory',
    detail,
    'run `temper plan RECIPE` to see how much memory a run needs before you start it',
  );
}

/** Reports GPUs, and that they are not used. */
export async function checkGpus(): Promise<Finding> {
  const gpuNames = await output('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader']);
  const names = (gpuNames ?? '').split('\n').filter((name) => name.trim() !== '');
  if (names.length === 0) return ok('gpu', 'none found; this build trains on the CPU');
  return warn(
    'gpu',
    `${names.length} × ${names[0]!.trim()}, not used`,
    'this build of Temper trains on the CPU only',
  );
}

/** Checks the interpreter that the comparisons with PyTorch, transformers and peft need; nothing else needs it. */
export async function checkPython(cache: string): Promise<Finding> {
  const version = await output('python3', ['--version']);
  const peers = existsSync(path.join(cache, 'peers')) ? 'peers installed' : 'no peers';
  if (version === null) return ok('python', 'none found; only `npm run test:interop` and `bench` need it');
  return ok('python', `${version.trim().replace('Python ', '')}, ${peers} (only for test:interop and bench)`);
}

/** Returns the standard output of a program; null when there is no such program, or it fails or hangs. */
export async function output(program: string, parameters: readonly string[]): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)(program, [...parameters], { timeout: patience });
    return stdout;
  } catch {
    return null;
  }
}
