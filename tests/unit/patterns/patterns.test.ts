import { UsageError } from '../../../shared/errors.js';
import { compileGlob, globBase, isGlob } from '../../../shared/patterns/glob.js';
import { compileRegex } from '../../../shared/patterns/regex.js';

const texts = ['', 'a', 'ab', 'aab', 'abc', 'a.b', 'a1', '12', 'A_', 'a]b', 'a-b', 'é', '\n', 'a\nb', '{2}'];

test.each([
  'a',
  '.*',
  'a+b?',
  '(a|b)*c?',
  '(?:ab|a)(?:b|c)+',
  '[a-c]+',
  '[^a-c]*',
  '[\\]a-]+b',
  '\\w+',
  '\\W*',
  '\\d{2}',
  'a{0,2}b{1,}',
  '^a$|^b',
  '(a*)*',
  '(?<name>a)b??',
  'a\\.b',
  '\\{2\\}',
])('the regular expression %s matches what JavaScript matches', (source) => {
  const matches = compileRegex(source, 'key');
  const native = new RegExp(`^(?:${source})$`);
  expect(texts.filter(matches)).toEqual(texts.filter((text) => native.test(text)));
});

test.each(['(?=a)', '(?!a)', '(a)\\1', '\\b', 'a**', '*', '(', ')', '[a', '[b-a]', 'a{3,2}', '\\'])(
  'the regular expression %s is refused by key',
  (source) => {
    expect(() => compileRegex(source, 'peft.key')).toThrow(UsageError);
    expect(() => compileRegex(source, 'peft.key')).toThrow(/^peft\.key: .* is not a regular expression: /);
  },
);

const paths = [
  '/d/a.csv',
  '/d/b.json',
  '/d/.c.csv',
  '/d/x/a.csv',
  '/d/x/y/a1.csv',
  '/d/x/.h/a.csv',
  '/d/{a}',
];

test.each<[string, string[]]>([
  ['/d/*.csv', ['/d/a.csv']],
  ['/d/?.{csv,json}', ['/d/a.csv', '/d/b.json']],
  ['/d/**/*.csv', ['/d/a.csv', '/d/x/a.csv', '/d/x/y/a1.csv']],
  ['/d/**', ['/d/a.csv', '/d/b.json', '/d/x/a.csv', '/d/x/y/a1.csv', '/d/{a}']],
  ['/d/*/a.csv', ['/d/x/a.csv']],
  ['/d/[!b-z].csv', ['/d/a.csv']],
  ['/d/x/y/a{1..3}.csv', ['/d/x/y/a1.csv']],
  ['/d/{a}', ['/d/{a}']],
  ['/d/@(a|b).+(c|s|v)', ['/d/a.csv']],
  ['/d/\\*.csv', []],
])('the glob %s matches %j', (source, expected) => {
  expect(paths.filter(compileGlob(source, 'path', { dot: false }))).toEqual(expected);
});

test.each(['!(a)', '@(a', '[a', `${'a'.repeat(2000)}*`])('the glob %s is refused', (source) => {
  expect(() => compileGlob(source, 'path', { dot: false })).toThrow(/^path: .* is not a glob: /);
});

test('unclosed braces in a glob match themselves, however many there are', () => {
  expect(compileGlob('{'.repeat(900), 'path', { dot: true })('{'.repeat(900))).toBe(true);
});

test('the base of a glob is the folder above its first pattern', () => {
  expect(globBase('/d/e/*.csv')).toBe('/d/e');
  expect(globBase('/*.csv')).toBe('/');
  expect(globBase('*.csv')).toBe('.');
  expect([isGlob('/d/a (1).csv'), isGlob('/d/*.csv')]).toEqual([false, true]);
});

test('a regular expression whose repetitions multiply is refused', () => {
  expect(() => compileRegex('((a{100}){100}){100}', 'key')).toThrow('multiply each other');
});
