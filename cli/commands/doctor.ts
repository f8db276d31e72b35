import { diagnosticCommand } from '../command/define.js';
import { exitCodes } from '../command/exit.js';
import { jsonFlag } from '../command/flags.js';
import type { Finding } from '../doctor/finding.js';
import { usesColor } from '../terminal/index.js';

export const doctor = diagnosticCommand<{ json: boolean }>({
  docs: { brief: 'Check CPU, memory, engine, Temporal, storage and credentials, each with a remedy' },
  flags: { json: jsonFlag },
  async run({ json }) {
    const { examine } = await import('../doctor/examine.js');
    const findings = await examine();
    const sound = findings.every(({ status }) => status !== 'fail');
    if (json) process.stdout.write(`${JSON.stringify({ ok: sound, findings })}\n`);
    else process.stdout.write(`${findings.map((finding) => describe(finding)).join('\n')}\n`);
    if (!sound) process.exitCode = exitCodes.failed;
  },
});

const colors = { ok: '\x1b[32m', warn: '\x1b[33m', fail: '\x1b[31m' };

function describe({ name, status, detail, remedy }: Finding): string {
  const mark = usesColor(process.stdout) ? `${colors[status]}${status.padEnd(4)}\x1b[0m` : status.padEnd(4);
  const line = `${mark}  ${name.padEnd(16)}${detail}`;
  return remedy === null ? line : `${line}\n${' '.repeat(22)}→ ${remedy}`;
}
