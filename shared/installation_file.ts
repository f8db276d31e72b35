/** Finds the configuration file without loading it, or anything that it needs. */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from './errors.js';

export interface ChosenFile {
  /** The configuration's file; null when there is none and everything has its default. */
  file: string | null;
  /** Files that were seen and not loaded, each with the reason. */
  passedOver: readonly string[];
}

/** The configuration that was built with the program. */
export const ownFile = fileURLToPath(new URL('../temporal.config.js', import.meta.url));
/** The source it was built from, which finds the program only in its built form. */
const ownSource = path.resolve(path.dirname(ownFile), '../temporal.config.ts');

/**
 * Finds the file to load.
 *
 * @param folder where the search begins
 */
export async function chooseFile(folder: string, environment: NodeJS.ProcessEnv): Promise<ChosenFile> {
  if (environment.TEMPER_CONFIG) {
    const file = path.resolve(folder, environment.TEMPER_CONFIG);
    if (!existsSync(file)) throw new UsageError(`TEMPER_CONFIG names ${file}, which does not exist`);
    return { file, passedOver: [] };
  }
  const passedOver: string[] = [];
  for (const candidate of foldersUpFrom(folder, environment.HOME || homedir())) {
    for (const name of configNames()) {
      const file = path.join(candidate, name);
      if (file === ownSource || !existsSync(file)) continue;
      const distrusted = await reasonToDistrust(file);
      if (distrusted === null) return { file, passedOver };
      passedOver.push(`${file} is not loaded: ${distrusted}`);
    }
  }
  return { file: existsSync(ownFile) ? ownFile : null, passedOver };
}

/** Yields the folder and those above it, up to the first that is a package's or the home folder. */
function* foldersUpFrom(folder: string, home: string): Generator<string> {
  for (let current = path.resolve(folder); ; current = path.dirname(current)) {
    yield current;
    if (
      current === path.resolve(home) ||
      existsSync(path.join(current, 'package.json')) ||
      current === path.dirname(current)
    )
      return;
  }
}

function configNames(): string[] {
  const stripsTypes = Boolean((process.features as { typescript?: unknown }).typescript);
  return ['temporal.config.js', 'temporal.config.mjs', ...(stripsTypes ? ['temporal.config.ts'] : [])];
}

/**
 * Returns why a file must not be executed as this user (somebody else could have put the code there); null when it may.
 */
async function reasonToDistrust(file: string): Promise<string | null> {
  const { uid, mode } = await stat(file);
  if (uid !== 0 && uid !== process.getuid?.()) return 'it belongs to another user';
  if ((mode & 0o022) !== 0) return 'others may write to it (chmod go-w)';
  return null;
}
