import { resolveRoots } from '../../shared/storage/index.js';
import { checkConfiguration } from '../doctor/configuration.js';
import type { Finding } from '../doctor/finding.js';
import { checkEngine, checkGpus, checkMemory, checkNode, checkPython } from '../doctor/machine.js';
import { checkCredentials, checkStorage } from '../doctor/storage.js';
import { checkTemporal } from '../doctor/temporal.js';
import { exitCodes } from '../command/exit.js';
import { usesColor } from '../terminal/color.js';
import { version } from '../command/version.js';

export async function doctor(flags: { json: boolean }): Promise<void> {
  const findings = await examine();
  const sound = findings.every(({ status }) => status !== 'fail');
  if (flags.json) process.stdout.write(`${JSON.stringify({ ok: sound, findings })}\n`);
  else process.stdout.write(`${findings.map((finding) => describe(finding)).join('\n')}\n`);
  if (!sound) process.exitCode = exitCodes.failed;
}

async function examine(): Promise<Finding[]> {
  const { configuration, storageRoots } = await checkConfiguration();
  const places = resolveRoots(storageRoots);
  const parts: (Finding | Finding[] | Promise<Finding | Finding[]>)[] = [
    { name: 'temper', status: 'ok', detail: await version(), remedy: null },
    configuration,
    checkNode(),
    checkEngine(),
    checkMemory(),
    checkGpus(),
    checkTemporal(places.cache),
    checkStorage(places),
    checkCredentials(),
    checkPython(places.cache),
  ];
  return (await Promise.all(parts)).flat();
}

const colors = { ok: '\x1b[32m', warn: '\x1b[33m', fail: '\x1b[31m' };

function describe({ name, status, detail, remedy }: Finding): string {
  const mark = usesColor(process.stdout) ? `${colors[status]}${status.padEnd(4)}\x1b[0m` : status.padEnd(4);
  const line = `${mark}  ${name.padEnd(16)}${detail}`;
  return remedy === null ? line : `${line}\n${' '.repeat(22)}→ ${remedy}`;
}
