/** A process that takes generations and saves checkpoints of a run until it is killed, or as often as it is told. */
import { CheckpointSaver, MetricsJournal, takeGeneration } from '../../../components/checkpoint/index.js';
import { FencedError } from '../../../shared/errors.js';
import { openStorage } from '../../../shared/storage/index.js';

const [uri, holder, rounds, elements] = process.argv.slice(2) as [string, string, string, string];
const storage = await openStorage(uri, { roots: null });
const digest = 'a'.repeat(64);
const signature = { engine: '1', isa: 'portable', device: 'cpu', threads: 1, libraries: {} };
let commits = 0;

for (let round = 0; round < Number(rounds); round += 1) {
  const { generation } = await takeGeneration(storage, { holder, worldSize: 1 });
  let journal: MetricsJournal | null = null;
  try {
    journal = await MetricsJournal.open({ storage, generation, resumedFrom: null });
    const saver = new CheckpointSaver({
      storage,
      generation,
      recipeDigest: digest,
      planDigest: digest,
      signature,
      resumedFrom: null,
      journal,
      keepLast: 3,
    });
    for (let step = 1; step <= 4; step += 1) {
      const data = new Float32Array(Number(elements)).fill(generation * 1000 + step);
      const { committed } = await saver.begin({
        trainer: {
          step,
          epoch: 0,
          cursor: step,
          seed: 1,
          tokens: step,
          supervisedTokens: step,
          best: null,
          validation: {},
        },
        tensors: [
          { name: 'w', dtype: 'f32', role: 'trained', shape: [data.length], rows: [0, data.length], data },
        ],
      });
      const { sequence } = await committed;
      commits += 1;
      process.stdout.write(`${JSON.stringify({ sequence, generation, step })}\n`);
    }
  } catch (error) {
    if (!(error instanceof FencedError)) throw error;
  } finally {
    await journal?.close();
  }
}
process.stdout.write(`${JSON.stringify({ commits })}\n`);
