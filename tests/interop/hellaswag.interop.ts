/** Likelihood tasks against the same tasks on transformers, example by example. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { ExampleResult } from '../../components/evaluation/index.js';
import { resolveModel } from '../../components/models/index.js';
import { evaluateTask, prepareTask } from '../../recipes/llm/evaluate/evaluate_tasks.js';
import { FolderModel } from '../../recipes/llm/evaluate/evaluated_model.js';
import { describeWithFiles, smollm2, taskData } from '../support/task_data.js';
import { quietHooks } from '../support/training_run.js';
import { askTasksPeer } from './tasks_peer.js';

const file = taskData('hellaswag_val_500.jsonl');
const limit = 40;

interface Expected {
  logprobs: number[];
  lengths: number[];
  acc: number;
  acc_norm: number;
}

/** Returns true when the two best scores are so close that rounding may choose either. */
function isTie(scores: readonly number[]): boolean {
  const [best, second] = [...scores].sort((a, b) => b - a);
  return best! - second! <= 1e-4;
}

describeWithFiles(file, smollm2)('HellaSwag on SmolLM2-135M', () => {
  let ours: ExampleResult[];
  let peerExamples: Expected[];
  beforeAll(async () => {
    const { folder } = await resolveModel(smollm2, { ggufDType: 'f32' });
    const task = await prepareTask({
      task: 'hellaswag',
      name: null,
      when: 'end',
      path: file,
      limit,
      num_fewshot: 0,
      fewshot_path: null,
    });
    const model = await FolderModel.open({
      folder,
      adapter: null,
      precision: 'fp32',
      device: 'cpu:0',
      hooks: quietHooks,
    });
    ours = (await evaluateTask(task, model, null, () => {}, quietHooks.signal)).results;
    await model.close();
    const answer = await askTasksPeer<{ examples: Expected[] }>({
      job: 'hellaswag',
      model: folder,
      path: file,
      limit,
    });
    peerExamples = answer.examples;
  }, 1_200_000);

  test('log-likelihoods of every ending are equal to 1e-3 in sums over up to a hundred tokens', () => {
    const errors = ours.flatMap(({ details }, index) =>
      (details.logprobs as number[]).map((value, choice) =>
        Math.abs(value - peerExamples[index]!.logprobs[choice]!),
      ),
    );
    expect(errors).toHaveLength(4 * limit);
    expect(Math.max(...errors)).toBeLessThan(1e-3);
  });

  test('acc and acc_norm are equal example by example, but for ties within 1e-4', () => {
    for (const [index, { scores }] of ours.entries()) {
      const { logprobs, lengths, acc, acc_norm } = peerExamples[index]!;
      if (!isTie(logprobs)) expect([index, scores.acc]).toEqual([index, acc]);
      if (!isTie(logprobs.map((value, choice) => value / lengths[choice]!)))
        expect([index, scores.acc_norm]).toEqual([index, acc_norm]);
    }
  });
});

(existsSync(smollm2) ? test : test.skip)(
  'a text is scored in windows of the context as transformers scores them',
  async () => {
    const { folder } = await resolveModel(smollm2, { ggufDType: 'f32' });
    const text = await readFile(path.resolve(import.meta.dirname, '../../../LICENSE'), 'utf8');
    const texts = [text.slice(0, 3000), 'Short.'];
    const model = await FolderModel.open({
      folder,
      adapter: null,
      precision: 'fp32',
      device: 'cpu:0',
      hooks: quietHooks,
    });
    const ours = await model.rollingLoglikelihoods(texts);
    await model.close();
    const { logprobs } = await askTasksPeer<{ logprobs: number[] }>({
      job: 'perplexity',
      model: folder,
      texts,
      window: 8192,
    });
    for (const [index, { logprob }] of ours.entries())
      expect(Math.abs(logprob - logprobs[index]!) / Math.abs(logprobs[index]!)).toBeLessThan(1e-5);
  },
  600_000,
);
