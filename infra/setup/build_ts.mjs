// Transpiles every TypeScript file to dist/, one file at a time and only when it changed, so that a rebuild
// takes a moment. Types are checked by `npm run typecheck`; this step only removes them.
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { transform } from 'esbuild';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const rooms = JSON.parse(await readFile(path.join(root, 'tsconfig.json'), 'utf8')).include;

async function* sources(entry) {
  const info = await stat(entry).catch(() => null);
  if (info === null) return;
  if (info.isFile()) return yield { file: entry, modified: info.mtimeMs };
  for (const name of await readdir(entry)) {
    if (name === 'goldens' || name === 'node_modules') continue;
    const child = path.join(entry, name);
    if (/\.ts$/.test(name) || !path.extname(name)) yield* sources(child);
  }
}

async function build({ file, modified }) {
  const target = path.join(root, 'dist', path.relative(root, file).replace(/\.ts$/, '.js'));
  const built = await stat(target).catch(() => null);
  if (built !== null && built.mtimeMs >= modified) return { target, changed: false };
  const { code } = await transform(await readFile(file, 'utf8'), {
    loader: 'ts',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    sourcefile: file,
    sourcesContent: false,
  });
  await mkdir(path.dirname(target), { recursive: true });
  const partial = `${target}.${process.pid}`;
  await writeFile(partial, code);
  await rename(partial, target);
  return { target, changed: true };
}

/** Removes what was built from sources that are gone. */
async function prune(directory, kept) {
  for (const name of await readdir(directory).catch(() => [])) {
    const entry = path.join(directory, name);
    if ((await stat(entry)).isDirectory()) await prune(entry, kept);
    else if (entry.endsWith('.js') && !kept.has(entry)) await rm(entry);
  }
}

const kept = new Set();
let changed = 0;
let failed = 0;
for (const room of rooms) {
  for await (const source of sources(path.join(root, room))) {
    try {
      const built = await build(source);
      kept.add(built.target);
      if (built.changed) changed += 1;
    } catch (error) {
      failed += 1;
      process.stderr.write(`${path.relative(root, source.file)}: ${error.message}\n`);
    }
  }
}
if (failed === 0) {
  for (const room of rooms) {
    if (!room.endsWith('.ts')) await prune(path.join(root, 'dist', room), kept);
  }
}
process.stdout.write(`built ${changed} of ${kept.size} files\n`);
process.exitCode = failed > 0 ? 1 : 0;
