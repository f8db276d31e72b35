/** The `temper` command as a process, and what it printed. */
import { spawn } from 'node:child_process';
import path from 'node:path';

export const temperCommand = path.resolve(import.meta.dirname, '../../../bin/temper');

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** Working folder. */
  cwd: string;
  env?: NodeJS.ProcessEnv;
  /** Text on stdin. */
  input?: string;
}

/** Runs the command to its end. */
export function runTemper(
  parameters: readonly string[],
  { cwd, env = process.env, input = '' }: CommandOptions,
): Promise<CommandResult> {
  const child = spawn(temperCommand, parameters, { cwd, env, stdio: 'pipe' });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...output }));
  });
}
