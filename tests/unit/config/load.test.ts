import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import {
  composeRecipe,
  type LoadOptions,
  loadRecipe,
  pathKeyword,
} from '../../../components/config/index.js';
import { InvalidRecipe, type RecipeProblem } from '../../../shared/errors.js';
import { listedVariables } from '../../../shared/recipe_environment.js';

const dataset = z.discriminatedUnion('dataset_type', [
  z.strictObject({ dataset_type: z.literal('text'), path: z.string().meta({ [pathKeyword]: 'file' }) }),
  z.strictObject({ dataset_type: z.literal('chat'), roles: z.array(z.string()).default(['assistant']) }),
]);

const schema = z.strictObject({
  name: z.string().min(1),
  seed: z.int().default(1),
  model: z.strictObject({ name: z.string().meta({ [pathKeyword]: 'model' }) }).optional(),
  data: dataset.optional(),
  validation: z.union([dataset, z.record(z.string(), dataset)]).optional(),
  precision: z.enum(['fp32', 'bf16']).default('bf16'),
  clip: z.union([z.literal('none'), z.number().positive()]).default(1),
  resume: z.boolean().default(false),
  output_dir: z
    .string()
    .meta({ [pathKeyword]: 'file' })
    .default('runs/x'),
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'temper-config-'));
});
afterAll(() => rm(folder, { recursive: true }));

const load = (text: string, options: Partial<LoadOptions<typeof schema>> = {}) =>
  loadRecipe({ text }, { schema, env: {}, recipeEnvironment: ['N', 'S', 'C', 'P'], cwd: folder, ...options });

async function findProblems(promise: Promise<unknown>): Promise<readonly RecipeProblem[]> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof InvalidRecipe)) throw new Error(`expected InvalidRecipe, got ${String(error)}`);
  return error.problems;
}

const write = async (name: string, text: string | Uint8Array): Promise<string> => {
  const file = path.join(folder, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, text);
  return file;
};

describe('problems', () => {
  test('are all reported at once, each with line, column and key', async () => {
    const problems = await findProblems(load('name: a\nseed: x\nprecison: bf16\nclip: -1\n'));
    expect(problems.map(({ key, line, column }) => [key, line, column])).toEqual([
      ['seed', 2, 7],
      ['precison', 3, 1],
      ['clip', 4, 7],
    ]);
  });

  test('an unknown key suggests the nearest key that is not set yet', async () => {
    const [problem] = await findProblems(load('name: a\nprecison: bf16'));
    expect(problem!.message).toBe("unknown key; did you mean 'precision'?");
  });

  test('an unknown key suggests the nearest key even if that is already set', async () => {
    const [problem] = await findProblems(load('name: a\nnmae: b'));
    expect(problem!.message).toBe("unknown key; did you mean 'name'?");
  });

  test('an unknown key of a union member is compared only with that member', async () => {
    const [problem] = await findProblems(load('name: a\ndata: {dataset_type: chat, role: [user]}'));
    expect(problem).toMatchObject({ key: 'data.role', line: 2, column: 28 });
    expect(problem!.message).toContain("did you mean 'roles'");
  });

  test('an unknown value suggests the nearest and lists the choices', async () => {
    const [problem] = await findProblems(load('name: a\nprecision: pf16'));
    expect(problem!.message).toBe(
      "'pf16' is not known here; did you mean 'bf16'? The choices are fp32, bf16",
    );
  });

  test('an unknown discriminator lists the choices', async () => {
    const [problem] = await findProblems(load('name: a\ndata: {dataset_type: txt}'));
    expect(problem).toMatchObject({ key: 'data.dataset_type', line: 2, column: 22 });
    expect(problem!.message).toContain('text, chat');
  });

  test('a missing key is named at its parent', async () => {
    const [problem] = await findProblems(load('name: a\ndata:\n  dataset_type: text\n'));
    expect(problem).toMatchObject({ key: 'data.path', line: 2, message: 'is required (text)' });
  });

  test('a wrong kind of a union names every kind that fits', async () => {
    const [problem] = await findProblems(load('name: a\nclip: nine'));
    expect(problem!.message).toBe("expected one of none, or a number; did you mean 'none'?");
  });

  test('a problem within one kind of a union is reported for that kind', async () => {
    const member = z.strictObject({ type: z.literal('one'), size: z.int() });
    const union = z.strictObject({ set: z.union([member, z.record(z.string(), member)]) });
    const keys = async (text: string) =>
      (await findProblems(loadRecipe({ text }, { schema: union }))).map(({ key }) => key);
    expect(await keys('set: {type: one, size: x}')).toEqual(['set.size']);
    expect(await keys('set: {type: one}')).toEqual(['set.size']);
    expect(await keys('set: {type: one, size: 1, siz: 2}')).toEqual(['set.siz']);
    expect(await keys('set: {a: {type: one, size: x}}')).toEqual(['set.a.size']);
  });

  test("YAML's surprises are explained", async () => {
    const problems = await findProblems(load('name: a\nresume: yes\nseed: 1_000'));
    expect(problems.map((problem) => problem.message)).toEqual([
      "expected true or false, found the text 'yes'; write true",
      "expected a number, found the text '1_000'; write 1000, without quotes",
    ]);
  });

  test('malformed YAML is named with its location', async () => {
    const file = await write('bad.yaml', 'name: a\nmodel:\n  name: "x\n');
    const [problem] = await findProblems(loadRecipe({ file }, { schema }));
    expect(problem).toMatchObject({ file, line: 4 });
    expect(problem!.message).toContain('malformed YAML');
  });

  test.each([
    ['a duplicate key', 'name: a\nname: b', 2, 'appears twice'],
    ['a tab', 'name: a\nmodel:\n\tname: b', 3, 'tabs'],
    ['a second document', 'name: a\n---\nname: b', 2, 'one YAML document'],
    ['an alias without an anchor', 'name: *a', 1, 'alias'],
    ['an empty recipe', '# nothing\n', 1, 'empty'],
    ['a list', '- a', 1, 'map of keys'],
    ['infinity', 'name: a\nclip: .inf', 2, 'not a number a recipe can hold'],
    ['a prototype', 'name: a\n__proto__: {x: 1}', 2, '__proto__'],
  ])('%s is refused', async (_, text, line, part) => {
    const problems = await findProblems(load(text));
    expect(problems[0]).toMatchObject({ line });
    expect(problems[0]!.message).toContain(part);
  });

  test('an alias has the value of its anchor', async () => {
    const { value } = await load('name: &n a\nmodel: &m {name: *n}\n');
    expect(value.model!.name).toBe('a');
  });

  test('aliases that multiply are refused', async () => {
    const levels = Array.from({ length: 30 }, (_, i) => `k${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`);
    const [problem] = await findProblems(load(`k0: &a0 x\n${levels.join('\n')}`));
    expect(problem!.message).toContain('aliases');
  });

  test('deep nesting is refused and does not crash', async () => {
    const [problem] = await findProblems(load(`name: ${'['.repeat(20_000)}`));
    expect(problem!.message).toMatch(/nested too deeply|malformed/);
  });

  test('bytes that are not UTF-8 are named by line and column', async () => {
    const file = await write(
      'latin.yaml',
      Buffer.concat([Buffer.from('name: a\n# é '), Buffer.from([0xe9]), Buffer.from('\n')]),
    );
    const [problem] = await findProblems(loadRecipe({ file }, { schema }));
    expect(problem).toMatchObject({ file, line: 2, column: 5 });
  });

  test('a file too large to be a recipe is refused', async () => {
    const file = await write('large.yaml', Buffer.alloc((1 << 20) + 1, 'a'));
    expect((await findProblems(loadRecipe({ file }, { schema })))[0]!.message).toContain('bytes');
  });

  test.each([
    ['an object of 60,000 keys', 'recipe'],
    ['a text of 60,000 keys', 'text'],
  ])('%s is refused at once', async (_, form) => {
    const keys = Array.from({ length: 60_000 }, (_each, index) => [`key_${index}`, 1] as const);
    const source =
      form === 'recipe'
        ? { recipe: Object.fromEntries(keys) }
        : { text: keys.map(([key, value]) => `${key}: ${value}\n`).join('') };
    const [problem] = await findProblems(loadRecipe(source, { schema }));
    expect(problem!.message).toContain('the recipe has more than 20000 values');
  });

  test('an object nested deeper than any recipe is refused', async () => {
    let recipe: Record<string, unknown> = {};
    for (let depth = 0; depth < 5000; depth += 1) recipe = { a: recipe };
    const [problem] = await findProblems(loadRecipe({ recipe }, { schema }));
    expect(problem!.message).toContain('nested too deeply');
  });

  test('the first of 15,000 unknown keys are listed and the others counted', async () => {
    const text = Array.from({ length: 15_000 }, (_, index) => `kex_${index}: 1\n`).join('');
    const problems = await findProblems(load(`name: a\n${text}`));
    expect(problems).toHaveLength(201);
    expect(problems.at(-1)!.message).toBe('and 14800 more');
  });

  test('a missing file is named', async () => {
    const [problem] = await findProblems(loadRecipe({ file: 'none.yaml' }, { schema, cwd: folder }));
    expect(problem!.message).toBe("cannot read the recipe 'none.yaml': there is no such file");
  });

  test('JSON indented with tabs is a recipe', async () => {
    expect((await load('{\n\t"name": "a",\n\t"seed": 3\n}')).value).toMatchObject({ name: 'a', seed: 3 });
  });
});

describe('templates', () => {
  test('are merged under the recipe, also in chains: maps are merged, lists replaced', async () => {
    await write(
      'base/root.yaml',
      'name: root\nseed: 5\ndata: {dataset_type: chat, roles: [user, assistant]}',
    );
    await write('base/middle.yaml', 'extends: root.yaml\nprecision: fp32\nseed: 6');
    const file = await write('leaf.yaml', 'extends: base/middle.yaml\nname: leaf\ndata: {roles: [tool]}');
    expect((await loadRecipe({ file }, { schema })).value).toMatchObject({
      name: 'leaf',
      seed: 6,
      precision: 'fp32',
      data: { dataset_type: 'chat', roles: ['tool'] },
    });
  });

  test("another member of a union replaces the template's", async () => {
    await write('chat.yaml', 'name: t\nseed: 5\ndata: {dataset_type: chat, roles: [tool]}');
    const { value } = await load('extends: chat.yaml\ndata: {dataset_type: text, path: /x.txt}');
    expect(value).toMatchObject({ seed: 5, data: { dataset_type: 'text', path: '/x.txt' } });
  });

  test('maps by name replace one map of a template, and one map replaces those', async () => {
    await write('one.yaml', 'name: t\nvalidation: {dataset_type: chat, roles: [tool]}');
    await write('named.yaml', 'name: t\nvalidation: {a: {dataset_type: chat}, b: {dataset_type: chat}}');
    const byName = await load('extends: one.yaml\nvalidation: {a: {dataset_type: text, path: /x.txt}}');
    expect(byName.value.validation).toEqual({ a: { dataset_type: 'text', path: '/x.txt' } });
    const single = await load('extends: named.yaml\nvalidation: {dataset_type: chat, roles: [tool]}');
    expect(single.value.validation).toEqual({ dataset_type: 'chat', roles: ['tool'] });
  });

  test('an unknown key over a template is reported as unknown', async () => {
    await write('chat.yaml', 'name: t\ndata: {dataset_type: chat, roles: [tool]}');
    const [problem] = await findProblems(load('extends: chat.yaml\ndata: {rolls: [user]}'));
    expect(problem).toMatchObject({ key: 'data.rolls', line: 2 });
    expect(problem!.message).toContain('unknown key');
  });

  test('that go in a circle are refused', async () => {
    await write('a.yaml', 'extends: b.yaml\nname: a');
    const file = await write('b.yaml', 'extends: a.yaml');
    const [problem] = await findProblems(loadRecipe({ file }, { schema }));
    expect(problem!.message).toContain('b.yaml → a.yaml → b.yaml');
  });

  test.each([
    ['/dev/zero', 'it is a device or a pipe, not a file'],
    ['large.yaml', 'it has 1048577 bytes, and at most 1048576 are allowed'],
  ])('%s is refused before it is read', async (name, reason) => {
    await write('large.yaml', Buffer.alloc((1 << 20) + 1, 'a'));
    const [problem] = await findProblems(load(`name: a\nextends: ${name}`));
    expect(problem).toMatchObject({ key: 'extends', line: 2 });
    expect(problem!.message).toContain(reason);
  });

  test('that each extend the next one twice are read once', async () => {
    const depth = 40;
    for (let level = 0; level < depth; level += 1)
      await write(`twice${level}.yaml`, `extends: [twice${level + 1}.yaml, twice${level + 1}.yaml]`);
    await write(`twice${depth}.yaml`, 'name: a\nseed: 3');
    expect((await load('extends: twice0.yaml')).value).toMatchObject({ name: 'a', seed: 3 });
  });

  test('are limited in number', async () => {
    const [problem] = await findProblems(load(`extends: [${'chat.yaml, '.repeat(300)}]`));
    expect(problem!.message).toContain('more than 256 templates are named');
  });

  test('a problem within a template has the location in the template', async () => {
    const template = await write('faulty.yaml', 'name: t\nseeed: 4');
    const file = await write('user.yaml', 'extends: faulty.yaml');
    expect((await findProblems(loadRecipe({ file }, { schema })))[0]).toMatchObject({
      file: template,
      line: 2,
      column: 1,
    });
  });

  test('a missing template is reported at the key that names it', async () => {
    const [problem] = await findProblems(load('name: a\nextends: gone.yaml'));
    expect(problem).toMatchObject({ key: 'extends', line: 2, column: 10 });
  });
});

describe('references', () => {
  test('stand for other values, inside text and with their type', async () => {
    const { value } = await load('name: r${seed}\nseed: 7\nmodel: {name: "org/${name}"}\nclip: ${seed}');
    expect(value).toMatchObject({ name: 'r7', clip: 7, model: { name: 'org/r7' } });
  });

  test('$${ is a literal', async () => {
    expect((await load('name: a$${seed}')).value.name).toBe('a${seed}');
  });

  test('that go in a circle are refused', async () => {
    const problems = await findProblems(load('name: ${model.name}\nmodel: {name: "${name}"}'));
    expect(problems[0]!.message).toContain('model.name → name → model.name');
  });

  test('${run} is the id of the run, by default its name', async () => {
    const text = 'name: a\noutput_dir: runs/${run}-${name}';
    expect((await load(text)).value.output_dir).toBe(path.join(folder, 'runs/a-a'));
    const { value, document } = await load(text, { run: 'a-2026-01-02T03:04:05Z' });
    expect(value.output_dir).toBe(path.join(folder, 'runs/a-2026-01-02T03:04:05Z-a'));
    // A later reader of the recipe need not know the run.
    expect(document.output_dir).toBe('runs/a-2026-01-02T03:04:05Z-a');
  });

  test('${run} in the name goes in a circle, unless the id is given', async () => {
    const [problem] = await findProblems(load('name: a-${run}'));
    expect(problem!.message).toContain('in a circle');
    expect((await load('name: a-${run}', { run: 'b' })).value.name).toBe('a-b');
  });

  test('to unknown keys suggest the nearest', async () => {
    const [problem] = await findProblems(load('name: a\nseed: ${nmae}'));
    expect(problem!.message).toContain("did you mean 'name'");
  });

  test('that multiply each other are refused', async () => {
    const levels = Array.from({ length: 40 }, (_, i) => `k${i + 1}: "\${k${i}}\${k${i}}"`);
    const problems = await findProblems(load(`k0: x\n${levels.join('\n')}`));
    expect(problems.some((problem) => /far more values|longer than/.test(problem.message))).toBe(true);
  });
});

describe('environment', () => {
  test('gives values, typed as YAML reads them, and defaults', async () => {
    const { value } = await load('name: ${env:N}\nseed: ${env:S}\nclip: ${env:C:-2.5}', {
      env: { N: 'x', S: '12' },
    });
    expect(value).toMatchObject({ name: 'x', seed: 12, clip: 2.5 });
  });

  test('text that looks like a number stays text for a key that takes text', async () => {
    expect((await load('name: ${env:N}', { env: { N: '007' } })).value.name).toBe('007');
  });

  test.each(['MY_SECRET', 'HOME', 'N_TOKEN'])(
    'the variable %s is refused unless it is listed',
    async (name) => {
      const [problem] = await findProblems(
        load(`name: a-\${env:${name}:-b}`, { env: { [name]: 'hidden' }, recipeEnvironment: ['N'] }),
      );
      expect(problem).toMatchObject({ key: 'name', line: 1 });
      expect(problem!.message).toContain(`the environment variable ${name} is not listed for recipes`);
      expect(problem!.message).toContain(`TEMPER_RECIPE_ENV=${name}`);
      expect(problem!.message).not.toContain('hidden');
    },
  );

  test('patterns list variables, but none that is named like a credential', async () => {
    const env = { RUN_NAME: 'r', RUN_TOKEN: 'hidden' };
    const value = (text: string, ...recipeEnvironment: string[]) => load(text, { env, recipeEnvironment });
    expect((await value('name: ${env:RUN_NAME}', 'RUN_*')).value.name).toBe('r');
    const [problem] = await findProblems(value('name: ${env:RUN_TOKEN}', 'RUN_*'));
    expect(problem!.message).toContain('is named like a credential');
    expect((await value('name: ${env:RUN_TOKEN}', 'RUN_*', 'RUN_TOKEN')).value.name).toBe('hidden');
  });

  test('the list is TEMPER_RECIPE_ENV of the process unless another one is given', async () => {
    const listBefore = process.env.TEMPER_RECIPE_ENV;
    process.env.TEMPER_RECIPE_ENV = 'A, B_*,';
    try {
      expect(listedVariables()).toEqual(['A', 'B_*']);
      const recipe = await loadRecipe(
        { text: 'name: ${env:A}${env:B_C}' },
        { schema, env: { A: 'x', B_C: 'y' } },
      );
      expect(recipe.value.name).toBe('xy');
    } finally {
      if (listBefore === undefined) delete process.env.TEMPER_RECIPE_ENV;
      else process.env.TEMPER_RECIPE_ENV = listBefore;
    }
  });

  test('values do not appear in messages that a schema builds from them', async () => {
    const custom = z.looseObject({ name: z.string() }).superRefine(({ name }, context) => {
      context.addIssue({ code: 'custom', path: ['other'], message: `there is no '${name}'` });
      context.addIssue({ code: 'custom', path: ['name'], message: `'${name}' is not here` });
    });
    const error = await loadRecipe(
      { text: 'name: ${env:N}\nother: 1' },
      { schema: custom, env: { N: 'hidden' }, recipeEnvironment: ['N'] },
    ).catch((reason: Error) => reason);
    expect(String(error)).toContain("there is no '${env:N}'");
    expect(String(error)).not.toContain('hidden');
  });

  test('a missing environment variable is named', async () => {
    const [problem] = await findProblems(
      load('name: ${env:NOT_THERE}', { recipeEnvironment: ['NOT_THERE'] }),
    );
    expect(problem).toMatchObject({ key: 'name', line: 1 });
    expect(problem!.message).toContain('NOT_THERE');
  });

  test('values appear neither in the document nor in the canonical form', async () => {
    const { document, canonical } = await load('name: x-${env:N}', { env: { N: 'hidden' } });
    expect(JSON.stringify(document) + canonical).not.toContain('hidden');
    expect(canonical).toContain('x-${env:N}');
  });

  test('values do not appear in problems', async () => {
    const [problem] = await findProblems(load('name: a\nprecision: ${env:P}', { env: { P: 'hidden' } }));
    expect(JSON.stringify(problem)).not.toContain('hidden');
  });

  test('is not read on a client', async () => {
    const options = { schema, cwd: folder };
    const { document } = await composeRecipe({ text: 'name: a\nseed: ${env:S}' }, options);
    expect(document).toEqual({ name: 'a', seed: '${env:S}' });
    await expect(composeRecipe({ text: 'name: a\nseed: x${env:S}\nprecision: 3' }, options)).rejects.toThrow(
      '1 problem',
    );
  });
});

describe('overrides', () => {
  const text = 'name: a\ndata: {dataset_type: chat, roles: [user, tool]}';

  test('set typed values by dotted key, in lists by index', async () => {
    const overrides = [
      '--seed=3',
      'data.roles.1=system',
      '--data.roles.2=x',
      '--model.name=org/m',
      'resume=true',
    ];
    expect((await load(text, { overrides })).value).toMatchObject({
      seed: 3,
      resume: true,
      model: { name: 'org/m' },
      data: { roles: ['user', 'system', 'x'] },
    });
  });

  test('are applied before references', async () => {
    const { value } = await load('name: a\nmodel: {name: "o/${name}"}', { overrides: ['name=b'] });
    expect(value.model!.name).toBe('o/b');
  });

  test.each([
    [['data.dataset_type=text', 'data.path=/x.txt']],
    [['data.path=/x.txt', 'data.dataset_type=text']],
  ])("%j leaves no keys of the recipe's union member", async (overrides) => {
    const { value } = await load(text, { overrides });
    expect(value.data).toEqual({ dataset_type: 'text', path: '/x.txt' });
  });

  test('a discriminator that stays the same changes nothing', async () => {
    const { value } = await load(text, { overrides: ['data.dataset_type=chat'] });
    expect(value.data).toEqual({ dataset_type: 'chat', roles: ['user', 'tool'] });
  });

  test('may be maps and lists', async () => {
    const { value } = await load(text, { overrides: ['data={dataset_type: chat, roles: [a]}'] });
    expect(value.data).toEqual({ dataset_type: 'chat', roles: ['a'] });
  });

  test.each([
    ['sed=3', "did you mean 'seed'"],
    ['seed', '--dotted.key=value'],
    ['data.roles.9=x', '0 to 2'],
    ['name.x=1', 'single value'],
    ['seed="', 'read as YAML'],
  ])('%s is refused', async (override, part) => {
    expect((await findProblems(load(text, { overrides: [override] })))[0]!.message).toContain(part);
  });

  test('are named in problems', async () => {
    const [problem] = await findProblems(load(text, { overrides: ['--seed=x'] }));
    expect(problem!.message).toContain('(set by --seed)');
  });
});

describe('paths', () => {
  test('start from the file they are written in', async () => {
    await write('templates/t.yaml', 'data: {dataset_type: text, path: d.txt}');
    const file = await write('recipes/r.yaml', 'extends: ../templates/t.yaml\nname: a\noutput_dir: out');
    const { value, document } = await loadRecipe({ file }, { schema });
    expect(value).toMatchObject({
      data: { path: path.join(folder, 'templates/d.txt') },
      output_dir: path.join(folder, 'recipes/out'),
    });
    expect(document).toMatchObject({
      output_dir: 'out',
      data: { path: path.join(folder, 'templates/d.txt') },
    });
  });

  test('in overrides start from the shell', async () => {
    const file = await write('recipes/s.yaml', 'name: a');
    const { value } = await loadRecipe({ file }, { schema, cwd: folder, overrides: ['output_dir=o'] });
    expect(value.output_dir).toBe(path.join(folder, 'o'));
  });

  test('are recognized in nullable keys and keys with defaults', async () => {
    const optional = z.strictObject({
      out: z
        .string()
        .min(1)
        .nullable()
        .default(null)
        .meta({ [pathKeyword]: 'folder' }),
    });
    const { value } = await loadRecipe({ text: 'out: o' }, { schema: optional, cwd: folder });
    expect(value.out).toBe(path.join(folder, 'o'));
  });

  test('that are URIs, absolute or in the home folder are not resolved against the recipe', async () => {
    expect((await load('name: a\noutput_dir: s3://b/x')).value.output_dir).toBe('s3://b/x');
    expect((await load('name: a\noutput_dir: /x/y')).value.output_dir).toBe('/x/y');
    expect((await load('name: a\noutput_dir: ~/y')).value.output_dir).toBe(path.join(os.homedir(), 'y'));
  });

  test('a model is an id unless it is written as a path or exists', async () => {
    const model = async (name: string) => (await load(`name: a\nmodel: {name: ${name}}`)).value.model!.name;
    await mkdir(path.join(folder, 'org/here'), { recursive: true });
    expect(await model('org/there')).toBe('org/there');
    expect(await model('org/here')).toBe(path.join(folder, 'org/here'));
    expect(await model('./org/there')).toBe(path.join(folder, 'org/there'));
    expect(await model('m.gguf')).toBe(path.join(folder, 'm.gguf'));
  });
});

describe('identity', () => {
  test('does not depend on the order of keys, on comments, or on written defaults', async () => {
    const commented = await load('name: a\nseed: 1 # the default\nprecision: fp32');
    const json = await load('{"precision": "fp32", "name": "a"}');
    expect(commented.digest).toBe(json.digest);
    expect((await load('name: a\nseed: 2')).digest).not.toBe(commented.digest);
  });

  test('an object has the same digest as its text', async () => {
    const text = await load('name: a\nseed: 4');
    const object = await loadRecipe({ recipe: { seed: 4, name: 'a' } }, { schema, cwd: folder });
    expect(object.digest).toBe(text.digest);
  });

  test('defaults may refer to other keys', async () => {
    const { value } = await load('name: b', { defaults: { output_dir: 'runs/${name}' } });
    expect(value.output_dir).toBe(path.join(folder, 'runs/b'));
  });
});
