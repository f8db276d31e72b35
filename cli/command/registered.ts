/** Loads the commands of the operator's configuration where they may be wanted, and only there. */
import { chooseFile, ownFile } from '../../shared/installation_file.js';
import { describeError } from './exit.js';
import { commands } from './registry.js';

/**
 * Loads the configuration for a command that is not the program's own, and for help, which lists all of them. Help does not
 * load the configuration that was built with the program: that would double its time, for a file that seldom adds a command.
 *
 * @param argv the command line's arguments
 * @throws UsageError for a configuration that cannot be loaded, unless help is asked for: that comes with a warning
 */
export async function loadRegisteredCommands(argv: readonly string[]): Promise<void> {
  const [name] = argv;
  const isHelp = name === undefined || ['--help', '-h', '--help-all', '-H'].includes(name);
  if (isHelp) {
    await loadForHelp().catch((error) => process.stderr.write(`warning: ${describeError(error)}\n`));
  } else if (!name.startsWith('-') && commands()[name] === undefined) {
    await load();
  }
}

async function loadForHelp(): Promise<void> {
  const { file } = await chooseFile(process.cwd(), process.env);
  if (file !== null && file !== ownFile) await load();
}

async function load(): Promise<void> {
  const { loadInstallation } = await import('../../shared/installation.js');
  await loadInstallation();
}
