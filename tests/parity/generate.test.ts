/** Greedy answers against transformers' `generate`, token by token up to a near-tie of the two best logits. */
import path from 'node:path';
import { type Generated, Generator, samplingSchema } from '../../components/generation/index.js';
import { openModel, resolveModel } from '../../components/models/index.js';
import { TextGenerator } from '../../recipes/index.js';
import { exportModelFolder } from '../../recipes/llm/onnx/onnx_folder.js';
import { golden, goldenModels, readGolden } from '../support/goldens.js';
import { describeWithFiles, smollm2 } from '../support/task_data.js';
import { temporaryFolder } from '../support/temporary_folder.js';

interface Answer {
  prompt: number[];
  ids: number[];
  /** The lead of the best logit over the second, at each token of the answer and at the one that ended it. */
  leads: number[];
  finish: 'eos' | 'length';
}

const nearTie = 1e-4;
const folder = temporaryFolder();

/** Compares up to the first token whose two best logits are so close that rounding may choose. */
function expectSame(actual: Generated, expected: Answer): void {
  const tie = expected.leads.findIndex((lead) => lead < nearTie);
  if (tie < 0) expect(actual).toEqual({ ids: expected.ids, finish: expected.finish });
  else expect(actual.ids.slice(0, tie)).toEqual(expected.ids.slice(0, tie));
}

const answers = readGolden<Record<string, Answer[]>>('generation', 'greedy.json');

test.each(goldenModels)(
  'greedy answers of %s are transformers’, with all prompts in one batch',
  async (name) => {
    const model = golden('models', name);
    const { model: onnx } = await exportModelFolder(model, null, 'fp32', path.join(folder, name));
    const { eosTokenIds, maxPositions } = await openModel(model);
    const generator = await Generator.open({ onnx, eosTokenIds, contextLength: maxPositions, threads: 1 });
    try {
      const sampling = samplingSchema.parse({});
      const cases = answers[name]!;
      // transformers was asked for as many tokens as the context has room for.
      const generated = await generator.generate(
        cases.map(({ prompt }) => ({ ids: prompt, maxNewTokens: 64, sampling })),
      );
      generated.forEach((answer, i) => {
        expectSame(answer, cases[i]!);
      });
    } finally {
      await generator.close();
    }
  },
);

describeWithFiles(smollm2)(`SmolLM2-135M-Instruct (${smollm2})`, () => {
  test.each([4, 1])(
    '64 greedy tokens after its chat template are transformers’, in batches of %d',
    async (batchSize) => {
      const cases = readGolden<(Answer & { question: string; text: string })[]>('generation', 'smollm2.json');
      const { folder: modelFolder } = await resolveModel(smollm2, { ggufDType: 'f32' });
      const options = { modelFolder, adapter: null, precision: 'fp32', batchSize } as const;
      const generator = await TextGenerator.open(options, { progress: () => undefined });
      try {
        const prompts = cases.map(({ question }) => [{ role: 'user', content: question }]);
        expect(prompts.map((prompt) => generator.encode(prompt))).toEqual(cases.map(({ prompt }) => prompt));
        // None of these answers meets a near-tie, so that the whole texts must be equal.
        expect(Math.min(...cases.flatMap(({ leads }) => leads))).toBeGreaterThan(nearTie);
        const textAnswers = await generator.answer(prompts, { maxNewTokens: 64 });
        expect(textAnswers).toEqual(
          cases.map(({ text, finish, ids }) => ({ text, finish, tokens: ids.length })),
        );
      } finally {
        await generator.close();
      }
    },
    300_000,
  );
});
