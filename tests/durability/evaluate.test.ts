/** Kills in the middle of evaluate: the scores are the same, and finished parts are not computed again. */
import { readdirSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import type { Evaluation, FinetuneResult } from '../../contracts/index.js';
import { identifyProcess } from '../../shared/process_identity.js';
import { Deployment } from '../support/deployment.js';
import { writeTokenizedModel } from '../support/tokenized_model.js';
import { until } from '../support/until.js';

let deployment: Deployment;
let undisturbed: Evaluation;
const rows = 960;
/** Parts of 32 examples each. */
const partsOfModel = rows / 32;

beforeAll(async () => {
  deployment = await Deployment.start();
  await writeTokenizedModel(path.join(deployment.folder, 'model'));
  const lines = Array.from({ length: rows }, (_, index) =>
    JSON.stringify({
      question: `What comes after ${index}, and why is it not ${index * 7}?`,
      choices: ['one', 'something else entirely', `the number ${index + 1}`],
      answerKey: 2,
    }),
  );
  await writeFile(path.join(deployment.folder, 'rows.jsonl'), lines.join('\n'));
  undisturbed = (await awaitResult(await start('undisturbed'))).evaluation!;
}, 240_000);
afterAll(async () => deployment.stop(), 60_000);

function start(name: string): Promise<WorkflowHandle> {
  const { data, training } = deployment.recipe(name) as Record<string, object>;
  const tasks = [
    { task: 'multiple_choice', name: 'next', path: path.join(deployment.folder, 'rows.jsonl') },
    { task: 'samples', prompts: ['One, two,', 'Why?'], max_new_tokens: 8 },
  ];
  const trainData = { dataset_type: 'mock_packed', packs: 16 };
  return deployment.run(name, {
    data: { ...data, train: trainData },
    training: { ...training, num_epochs: 1 },
    evaluation: { tasks },
  });
}

const awaitResult = async (handle: WorkflowHandle) => (await handle.result()) as FinetuneResult;

/** Returns the stored parts of a run, each with the time it was written. */
function readParts(name: string): Map<string, number> {
  const folder = path.join(deployment.folder, name, 'evaluation');
  let entries: string[] = [];
  try {
    entries = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch {
    // No evaluation has begun yet.
  }
  const parts = entries.filter((entry) => /shard-\d+\.json$/.test(entry));
  return new Map(parts.map((entry) => [entry, statSync(path.join(folder, entry)).mtimeMs]));
}

async function untilParts(name: string, count: number): Promise<void> {
  await until(`${count} parts of ${name}`, () => readParts(name).size >= count);
}

/** Calls `kill` after so many parts, and checks that those are unchanged in the end. */
async function killAfter(
  name: string,
  count: number,
  kill: () => Promise<void>,
  revive: () => Promise<void> = async () => {},
): Promise<FinetuneResult> {
  const handle = await start(name);
  await untilParts(name, count);
  await kill();
  const partsBefore = readParts(name);
  await revive();
  const result = await awaitResult(handle);
  const partsAfter = readParts(name);
  expect(partsBefore.size).toBeLessThan(partsAfter.size);
  for (const [entry, time] of partsBefore) expect([entry, partsAfter.get(entry)]).toEqual([entry, time]);
  return result;
}

/** Returns the host worker's step processes: during an evaluation, the one that evaluates is the only one. */
const listEvaluators = (): number[] => deployment.children('step.js');

test.each([
  ['before', 10],
  ['after', partsOfModel + 10],
])(
  'a host worker killed while it evaluates the model %s training is replaced, and the scores are the same',
  async (which, count) => {
    const kill = async () => {
      const [evaluator] = listEvaluators();
      await deployment.host.kill();
      // It exits with its parent.
      await until('the evaluator to end', () => identifyProcess(evaluator!) === null);
    };
    const result = await killAfter(`host-${which}`, count, kill, () => deployment.restart('host'));
    expect(result.evaluation).toEqual(undisturbed);
  },
  180_000,
);

test('a killed evaluating process is started again, and the scores are the same', async () => {
  const result = await killAfter('evaluator', 10, async () => {
    process.kill(listEvaluators()[0]!, 'SIGKILL');
  });
  expect(result.evaluation).toEqual(undisturbed);
}, 180_000);
