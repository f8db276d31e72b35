/** Each page of docs/adding, followed: its code blocks are the files of an operator, and the program does what they say. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { writeTokenizedModel } from '../../support/tokenized_model.js';
import { Followed, filesOfPage, type Ran, root } from './support/pages.js';
import { entriesOfPage, FollowedTree } from './support/tree.js';

const parent = temporaryFolder();
const patience = 120_000;

/** Returns what a process printed, or its errors when it failed. */
function printed({ code, stdout, stderr }: Ran): string {
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}${stdout}`);
  return stdout;
}

test(
  'a dataset type of one’s own is read, converted and shown',
  async () => {
    const followed = await Followed.page('dataset_type', parent);
    await writeTokenizedModel(path.join(followed.folder, 'model'));
    followed.write('rows.jsonl', '{"text": "one two three"}\n');
    followed.recipe({
      data: { train: { dataset_type: 'reversed', path: './rows.jsonl' }, packed_sequence_size: 32 },
    });
    expect(printed(await followed.temper('preview', 'recipe.yaml'))).toContain('three two one');
  },
  patience,
);

test(
  'a task of one’s own scores a model',
  async () => {
    const followed = await Followed.page('task', parent);
    await writeTokenizedModel(path.join(followed.folder, 'model'));
    followed.write('cloze.jsonl', '{"text": "one", "continuation": " two"}\n');
    followed.write('tasks.yaml', 'tasks: [{task: cloze, path: ./cloze.jsonl}]');
    const ran = await followed.temper('evaluate', '--model', 'model', '--tasks', 'tasks.yaml', '--json');
    expect(JSON.stringify(JSON.parse(printed(ran)))).toMatch(/cloze.*logprob/);
  },
  patience,
);

test(
  'a loss of one’s own is what is trained on',
  async () => {
    const followed = await Followed.page('loss', parent);
    const firstLoss = async (name: string, loss: unknown) => {
      followed.recipe({ name, training: { loss, max_steps: 1 } });
      return (JSON.parse(printed(await followed.train())) as { loss: number }[])[0]!.loss;
    };
    const plain = await firstLoss('plain', 'masked_ce');
    const same = await firstLoss('same', { name: 'temperature_ce', temperature: 1 });
    expect(same).toBeCloseTo(plain, 6);
    expect(await firstLoss('divided', 'temperature_ce')).not.toBeCloseTo(plain, 6);
  },
  patience,
);

test(
  'an optimizer of one’s own makes the updates',
  async () => {
    const followed = await Followed.page('optimizer', parent);
    followed.recipe({ training: { optimizer: { name: 'adamw_growing', power: 0.9 }, max_steps: 3 } });
    const steps = JSON.parse(printed(await followed.train())) as { loss: number }[];
    expect(steps).toHaveLength(3);
    expect(printed(await followed.temper('plan', 'recipe.yaml', '--print'))).toContain('adamw_scalars');
  },
  patience,
);

test(
  'an optimizer of one’s own as a formula makes the updates, and the plan says how it runs',
  async () => {
    const followed = await Followed.page('optimizer', path.join(parent, 'formula'));
    followed.recipe({
      training: { optimizer: { name: 'lion' }, learning_rate: 1e-3, max_steps: 3 },
      checkpoint: { every_steps: 2, async: false },
    });
    // Step 3 is done again, from the momentum that the checkpoint holds.
    await followed.train(3);
    const steps = JSON.parse(printed(await followed.train())) as { loss: number }[];
    expect(steps).toHaveLength(3);
    expect(steps.every(({ loss }) => Number.isFinite(loss))).toBe(true);
    const plan = printed(await followed.temper('plan', 'recipe.yaml'));
    expect(plan).toMatch(/runs without a kernel of its own: lion \(\d+ records\) by its fallback/);
    const json = JSON.parse(printed(await followed.temper('plan', 'recipe.yaml', '--json')));
    expect(json.lowered).toEqual([{ op: 'lion', records: expect.any(Number) }]);
  },
  patience,
);

test(
  'an op of one’s own is trained through',
  async () => {
    const followed = await Followed.page('op', parent);
    const losses = async (name: string, loss: unknown) => {
      followed.recipe({ name, training: { loss, max_steps: 2 } });
      return (JSON.parse(printed(await followed.train())) as { loss: number }[]).map((step) => step.loss);
    };
    const plain = await losses('plain', 'masked_ce');
    const wide = await losses('wide', { name: 'softcap_ce', cap: 1e4 });
    for (const [step, loss] of wide.entries()) expect(loss).toBeCloseTo(plain[step]!, 4);
    const narrow = await losses('narrow', { name: 'softcap_ce', cap: 0.01 });
    expect(narrow[0]).not.toBeCloseTo(plain[0]!, 3);
    const plan = printed(await followed.temper('plan', 'recipe.yaml'));
    expect(plan).toContain('runs without a kernel of its own: softcap (1 record) by its fallback');
  },
  patience,
);

test(
  'a model family of one’s own is trained',
  async () => {
    const followed = await Followed.page('model_family', parent);
    const config = JSON.parse(readFileSync(path.join(followed.folder, 'model/config.json'), 'utf8'));
    const architectures = ['ParallelForCausalLM'];
    followed.write('model/config.json', JSON.stringify({ ...config, architectures, model_type: 'parallel' }));
    followed.recipe({});
    expect(JSON.parse(printed(await followed.train()))).toHaveLength(2);
  },
  patience,
);

test(
  'a logger of one’s own has each step once of a run that is killed',
  async () => {
    const followed = await Followed.page('logger', parent);
    followed.recipe({
      loggers: [{ name: 'plain', file: './log.txt' }],
      checkpoint: { every_steps: 2, async: false },
      training: { max_steps: 5 },
    });
    // Step 3 was done and not committed: it is done again.
    expect((await followed.train(3)).stdout).toBe('');
    printed(await followed.train());
    const lines = readFileSync(path.join(followed.folder, 'log.txt'), 'utf8').trim().split('\n');
    const steps = lines.map((line) => line.replace(/: loss \d.*/, ''));
    expect(steps).toEqual(['run run', 'step 1', 'step 2', 'run run continues', 'step 3', 'step 4', 'step 5']);
  },
  patience,
);

test(
  'a command of one’s own is listed and runs',
  async () => {
    const followed = await Followed.page('command', parent);
    followed.write('three.txt', 'a\nb\nc\n');
    expect(printed(await followed.temper('--help'))).toMatch(/count +Count the lines of a file/);
    expect(printed(await followed.temper('count', 'three.txt', '--json'))).toBe('{"lines":3}\n');
  },
  patience,
);

test(
  'help answers where the configuration cannot be loaded, and an unknown command says why',
  async () => {
    const followed = await Followed.page('command', path.join(parent, 'broken'));
    followed.write('count.mjs', 'export const count = undefined.command;');
    const help = await followed.temper('--help');
    expect([help.code, help.stderr]).toEqual([0, expect.stringContaining('temporal.config.mjs')]);
    const count = await followed.temper('count', 'x');
    expect([count.code, count.stderr]).toEqual([2, expect.stringContaining('temporal.config.mjs')]);
  },
  patience,
);

test(
  'an activation is two entries, and its kernel computes what the graph says',
  async () => {
    const tree = new FollowedTree(path.join(parent, 'activation'));
    const { ts, cpp } = entriesOfPage('activation');
    tree.insert('dist/graph/ops/activation.js', 'const activations = {', ts);
    tree.insert('native/ops/activation.hpp', '// x · Φ(x)', cpp, 'before');
    tree.insert('native/ops/activation.hpp', 'std::tuple<', 'Sigmoid, ');
    const x = ['-30', '-2.5', '-0.001', '0', '0.7', '4', '20'];
    const graph: number[][] = JSON.parse(printed(await tree.interpretActivation('sigmoid', x)));
    const kernel = printed(await tree.runActivationKernel('sigmoid', x))
      .trim()
      .split('\n');
    expect(kernel).toHaveLength(x.length);
    for (const [i, line] of kernel.entries()) {
      const [value, fallback, slope] = graph[i]!;
      expect(value).toBeCloseTo(1 / (1 + Math.exp(-Number(x[i]))), 12);
      expect(fallback).toBeCloseTo(value!, 12);
      const [kernelValue, kernelSlope] = line.split(' ').map(Number);
      expect(kernelValue).toBeCloseTo(value!, 6);
      expect(kernelSlope).toBeCloseTo(slope!, 6);
    }
  },
  patience,
);

test('every page has a configuration to follow, or needs a kernel and says so', () => {
  const pages = readdirSync(path.join(root, 'docs/adding')).map((name) => name.replace('.md', ''));
  const withCode = pages.filter((page) => filesOfPage(page).has('temporal.config.mjs'));
  expect(pages.filter((page) => !withCode.includes(page)).sort()).toEqual(['README', 'activation']);
});

test('the files that the page about ops lists are those that an op touches', () => {
  const text = readFileSync(path.join(root, 'docs/adding/op.md'), 'utf8');
  const listed = [...text.matchAll(/^\| `([^`]+)` \|/gm)].map(([, file]) => file!);
  expect(listed).toHaveLength(5);
  for (const file of listed)
    expect([file, readFileSync(path.join(root, file), 'utf8').includes('glu')]).toEqual([file, true]);
});

test.each(readdirSync(path.join(root, 'docs/adding')))('every file that %s names is there', (page) => {
  const text = readFileSync(path.join(root, 'docs/adding', page), 'utf8');
  const named = [...text.matchAll(/`((?:components|graph|native|cli|tests)\/[\w./]+)`/g)].map(
    ([, file]) => file!,
  );
  const linked = [...text.matchAll(/\]\(([\w./]+\.md)\)/g)].map(([, file]) =>
    path.join('docs/adding', file!),
  );
  expect([...named, ...linked].filter((file) => !existsSync(path.join(root, file)))).toEqual([]);
});
