// The SDK's own download of the Temporal CLI into the folder given; prints the executable's path.
import path from 'node:path';
import { TestWorkflowEnvironment } from '@temporalio/testing';

const folder = path.resolve(process.argv[2]);
// The SDK downloads the CLI when it starts a server; that one is stopped at once.
const limit = setTimeout(() => {
  process.stderr.write('the download took longer than two minutes\n');
  process.exit(1);
}, 120_000);
try {
  const environment = await TestWorkflowEnvironment.createLocal({
    server: { executable: { type: 'cached-download', downloadDir: folder } },
  });
  await environment.teardown();
  clearTimeout(limit);
  const { readdirSync } = await import('node:fs');
  process.stdout.write(
    path.join(
      folder,
      readdirSync(folder).find((name) => name.startsWith('temporal')),
    ),
  );
  process.exit(0);
} catch (error) {
  process.stderr.write(`${error.message.split('\n')[0]}\n`);
  process.exit(1);
}
