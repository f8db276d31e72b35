// Bundles the workflows ahead of time into dist/workflow-bundle.js, and only when they, their contracts or the SDK
// changed: a worker then starts without webpack.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const target = path.join(root, 'dist/workflow-bundle.js');
const require = createRequire(import.meta.url);

/** Over the workflows, and the contracts that they import when they run. */
async function sourcesDigest() {
  const hash = createHash('sha256').update(require('@temporalio/worker/package.json').version);
  const folder = path.join(root, 'dist/workflows');
  const files = (await readdir(folder, { recursive: true }))
    .filter((name) => name.endsWith('.js'))
    .map((name) => path.join(folder, name));
  const contracts = new Set();
  for (const file of files.sort()) {
    const code = await readFile(file, 'utf8');
    hash.update(code);
    for (const [, imported] of code.matchAll(/from "(?:\.\.\/)+(contracts\/[^"]+)"/g))
      contracts.add(imported);
  }
  for (const file of [...contracts].sort()) hash.update(await readFile(path.join(root, 'dist', file)));
  return hash.digest('hex');
}

const stamp = `// ${await sourcesDigest()}\n`;
const current = existsSync(target) && (await readFile(target, 'utf8')).startsWith(stamp);
if (current) {
  process.stdout.write('workflow bundle: current\n');
} else {
  const { bundleWorkflowCode } = await import('@temporalio/worker');
  const quiet = { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error };
  const { code } = await bundleWorkflowCode({
    workflowsPath: path.join(root, 'dist/workflows/index.js'),
    logger: quiet,
  });
  const partial = `${target}.${process.pid}`;
  await writeFile(partial, stamp + code);
  await rename(partial, target);
  process.stdout.write(`workflow bundle: ${Math.round(code.length / 1024)} KiB\n`);
}
