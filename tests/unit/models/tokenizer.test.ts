import { cpSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseGguf, tokenizerFromGguf } from '../../../components/models/index.js';
import { ModelTokenizer, tokenizerDigest } from '../../../components/tokenizer/index.js';
import { ModelError } from '../../../shared/errors.js';
import { golden, readGolden } from '../../support/goldens.js';

interface Case {
  text: string;
  ids: number[];
  offsets: [number, number][];
  decoded: string;
}

function rebuildTokenizer(name: string): ModelTokenizer {
  const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', `${name}.gguf`)));
  return new ModelTokenizer({ tokenizer, config, chatTemplate: null }, name);
}

const kinds = ['gpt-2', 'smollm', 'llama-bpe', 'tekken', 'llama'];

describe.each(kinds)('a tokenizer rebuilt from a GGUF file of kind %s', (kind) => {
  const tokenizer = rebuildTokenizer(kind);
  const cases = readGolden<Case[]>('tokenizers', `${kind}.json`);

  test('gives the tokens of the Rust library', () => {
    const tokens = cases.map(({ text }) => ({
      text,
      ids: tokenizer.encode(text, { addSpecial: false }).ids,
    }));
    expect(tokens).toEqual(cases.map(({ text, ids }) => ({ text, ids })));
  });

  test('decodes as the Rust library does', () => {
    expect(cases.map(({ ids }) => tokenizer.decode(ids))).toEqual(cases.map(({ decoded }) => decoded));
  });

  test.each(cases)('leaves no character without a token: $text', ({ text }) => {
    const { ids, offsets } = tokenizer.encode(text, { addSpecial: false });
    expect(offsets).toHaveLength(ids.length);
    let end = 0;
    // Tokens that share a character's bytes overlap on that character.
    const gap = offsets.find(([from, to]) => {
      const skips = from > end || to < from;
      end = Math.max(end, to);
      return skips;
    });
    expect(gap).toBeUndefined();
    expect(end).toBe(text.length);
  });
});

test('offsets are those of the Rust library, which trims nothing here', () => {
  for (const kind of ['gpt-2', 'smollm', 'tekken']) {
    const tokenizer = rebuildTokenizer(kind);
    const cases = readGolden<Case[]>('tokenizers', `${kind}.json`);
    for (const { text, offsets } of cases)
      expect(tokenizer.encode(text, { addSpecial: false }).offsets).toEqual(offsets);
  }
});

describe('special tokens', () => {
  test('are added around a text only on request', () => {
    const tokenizer = rebuildTokenizer('llama');
    const plainEncoding = tokenizer.encode('Hi', { addSpecial: false });
    const fullEncoding = tokenizer.encode('Hi', { addSpecial: true });
    expect(fullEncoding.ids).toEqual([tokenizer.bosId, ...plainEncoding.ids]);
    expect(fullEncoding.offsets).toEqual([[0, 0], ...plainEncoding.offsets]);
  });

  test('have their ids and texts', () => {
    const tokenizer = rebuildTokenizer('smollm');
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.padId]).toEqual([1, 2, null]);
    expect([...tokenizer.specialTokens]).toEqual(['<|endoftext|>', '<|im_start|>', '<|im_end|>']);
  });

  test('are left out of decoded text on request', () => {
    const tokenizer = rebuildTokenizer('smollm');
    const { ids } = tokenizer.encode('<|im_start|>hi<|im_end|>', { addSpecial: false });
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe('hi');
  });
});

test('an unpaired surrogate is tokenized as the replacement character', () => {
  const tokenizer = rebuildTokenizer('smollm');
  expect(tokenizer.encode('a\ud800b', { addSpecial: false }).ids).toEqual(
    tokenizer.encode('a\ufffdb', { addSpecial: false }).ids,
  );
});

test('a token id beyond the vocabulary has no text, as in the Rust tokenizer', () => {
  const tokenizer = rebuildTokenizer('smollm');
  const { ids } = tokenizer.encode('The capital', { addSpecial: false });
  expect(tokenizer.decode([...ids, 1_000_000])).toBe('The capital');
  expect(tokenizer.decode([1_000_000])).toBe('');
});

describe('a hostile tokenizer.json', () => {
  const buildChanged = (change: (tokenizer: Record<string, unknown>) => void) => {
    const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
    const copy = structuredClone(tokenizer);
    change(copy);
    return () => new ModelTokenizer({ tokenizer: copy, config, chatTemplate: null }, 'model');
  };
  const buildSplit = (fields: object) =>
    buildChanged((tokenizer) => {
      tokenizer.pre_tokenizer = {
        type: 'Split',
        pattern: { Regex: 'a' },
        behavior: 'Isolated',
        invert: false,
        ...fields,
      };
    });

  test.each([2 ** 31, 2 ** 22, -1, 1.5, '7'])(
    'with an added token of id %p is refused by file and token',
    (id) => {
      const build = buildChanged((tokenizer) =>
        (tokenizer.added_tokens as unknown[]).push({ id, content: '<far>' }),
      );
      expect(build).toThrow(ModelError);
      expect(build).toThrow(`model/tokenizer.json: the token "<far>" has the id ${JSON.stringify(id)}`);
    },
  );

  test('with a vocabulary entry beyond 32 bits names the entry', () => {
    const build = buildChanged(({ model }) => {
      (model as { vocab: Record<string, number> }).vocab.far = 2 ** 31;
    });
    expect(build).toThrow('the token "far" has the id 2147483648');
  });

  test.each(['(a+)+b', '(?:a|a)*b', '((a)*|b){2,}', '(?:[ab]*c)+'])(
    'with the pattern %s is refused',
    (Regex) => {
      expect(buildSplit({ pattern: { Regex } })).toThrow(
        /the pattern .* repeats a group that repeats or chooses within/,
      );
    },
  );

  test.each([{ behavior: 5 }, { pattern: 5 }, { pattern: null }, { type: 7 }, { pattern: { Regex: '(' } }])(
    'with %j in its pre-tokenizer is a ModelError',
    (fields) => {
      expect(buildSplit(fields)).toThrow(ModelError);
    },
  );

  test.each(['model', 'added_tokens', 'post_processor', 'normalizer', 'decoder'])(
    'with a number as %s is a ModelError',
    (key) => {
      const build = buildChanged((tokenizer) => {
        tokenizer[key] = 5;
      });
      expect(build).toThrow(ModelError);
    },
  );
});

describe('a tokenizer folder', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'temper-tokenizer-'));
    const files = tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
    await writeFile(path.join(folder, 'tokenizer.json'), JSON.stringify(files.tokenizer));
    await writeFile(path.join(folder, 'tokenizer_config.json'), JSON.stringify(files.config));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  test('gives the same tokenizer and the same digest', async () => {
    const copy = `${folder}-copy`;
    cpSync(folder, copy, { recursive: true });
    const [a, b] = await Promise.all([ModelTokenizer.load(folder), ModelTokenizer.load(copy)]);
    await rm(copy, { recursive: true });
    expect(a.encode('Hello', { addSpecial: false })).toEqual(
      rebuildTokenizer('smollm').encode('Hello', { addSpecial: false }),
    );
    expect(a.digest).toBe(b.digest);
    expect(await tokenizerDigest(folder)).toBe(a.digest);
  });

  test('may have its chat template in a separate file, which changes the digest', async () => {
    const tokenizerBefore = await ModelTokenizer.load(folder);
    await writeFile(path.join(folder, 'chat_template.jinja'), '{{ messages[0].content }}!');
    const tokenizer = await ModelTokenizer.load(folder);
    expect(tokenizerBefore.hasChatTemplate).toBe(false);
    expect(
      tokenizer.applyChatTemplate([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: false }),
    ).toBe('Hi!');
    expect(tokenizer.digest).not.toBe(tokenizerBefore.digest);
  });

  test('without tokenizer.json is refused by name', async () => {
    await rm(path.join(folder, 'tokenizer.json'));
    await expect(ModelTokenizer.load(folder)).rejects.toThrow(/has no tokenizer.json/);
  });

  test('with a damaged tokenizer.json is refused by name', async () => {
    const file = path.join(folder, 'tokenizer.json');
    await writeFile(file, (await readFile(file, 'utf8')).slice(0, 100));
    await expect(ModelTokenizer.load(folder)).rejects.toThrow(`${file}: not valid JSON`);
  });
});

test('offsets after NFC normalization are those of the original text', () => {
  const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
  const nfc = new ModelTokenizer(
    { tokenizer: { ...tokenizer, normalizer: { type: 'NFC' } }, config, chatTemplate: null },
    'nfc',
  );
  const text = 'e\u0301a \u1112\u1161\u11ab!';
  const composed = text.normalize('NFC');
  const encoding = nfc.encode(text, { addSpecial: false });
  expect(encoding.ids).toEqual(nfc.encode(composed, { addSpecial: false }).ids);
  expect(encoding.offsets[0]).toEqual([0, 2]);
  expect(encoding.offsets.at(-1)).toEqual([text.length - 1, text.length]);
});

interface ChatCase {
  name: string;
  template: string;
  messages: object[];
  addGenerationPrompt: boolean;
  tools: unknown[] | null;
  text: string;
}

describe('chat templates', () => {
  const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', 'gpt-2.gguf')));
  const withTemplate = (template: string) =>
    new ModelTokenizer(
      {
        tokenizer,
        config: { ...config, bos_token: '<bos>', eos_token: { content: '<eos>' } },
        chatTemplate: template,
      },
      'x',
    );

  test.each(readGolden<ChatCase[]>('tokenizers', 'chat_templates.json'))(
    '$name renders as in transformers (generation prompt: $addGenerationPrompt)',
    ({ template, messages, addGenerationPrompt, tools, text }) => {
      expect(withTemplate(template).applyChatTemplate(messages, { addGenerationPrompt, tools })).toBe(text);
    },
  );

  test('a template that refuses the messages is an error with its reason', () => {
    const refusing = withTemplate("{{ raise_exception('roles must alternate') }}");
    expect(() => refusing.applyChatTemplate([], { addGenerationPrompt: false })).toThrow(
      /refuses these messages: roles must alternate/,
    );
  });

  test('a template that cannot be parsed is refused when the tokenizer is built', () => {
    expect(() => withTemplate('{% if %}')).toThrow(/the chat template cannot be parsed/);
  });
});
