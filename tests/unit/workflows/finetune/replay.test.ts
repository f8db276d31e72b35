/** Workflows of an earlier Temper continue under this one: recorded histories replay without differences. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { workflowBundle } from '../../../../workers/control/workflow_bundle.js';

const folder = path.resolve(import.meta.dirname, '../../../../../tests/unit/workflows/finetune/histories');
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
const options = { workflowBundle: { codePath: workflowBundle } };

beforeAll(() => Runtime.install({ logger: new DefaultLogger('ERROR') }));

function readHistory(name: string): { events: Record<string, unknown>[] } {
  return JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
}

test('every recorded history replays', async () => {
  const histories = names.map((name) => ({ workflowId: name, history: readHistory(name) }));
  const errors: unknown[] = [];
  for await (const { workflowId, error } of Worker.runReplayHistories(options, histories)) {
    if (error !== undefined) errors.push([workflowId, error.message]);
  }
  expect(errors).toEqual([]);
  expect(names.length).toBeGreaterThan(0);
});

test('a history that another workflow wrote does not replay', async () => {
  const foreign = readHistory('completed.json');
  // The third activity becomes one that the workflow does not schedule at that point.
  const scheduled = foreign.events.filter((event) => 'activityTaskScheduledEventAttributes' in event);
  const attributes = scheduled[2]!.activityTaskScheduledEventAttributes as { activityType: { name: string } };
  attributes.activityType.name = 'somethingElse';
  await expect(Worker.runReplayHistory(options, foreign)).rejects.toThrow(/nondeterminism/i);
});
