import { takeOverrides } from '../../../cli/overrides.js';

test('dotted keys are overrides, in both spellings, and flags are left', () => {
  const argv = ['run', 'a.yaml', '--training.num_epochs=1', '--json', '--data.train.path', 'x.jsonl'];
  expect(takeOverrides(argv)).toEqual({
    rest: ['run', 'a.yaml', '--json'],
    overrides: ['training.num_epochs=1', 'data.train.path=x.jsonl'],
  });
});

test('a value may contain an equals sign and be negative', () => {
  expect(takeOverrides(['--a.b=x=y', '--a.c', '-1']).overrides).toEqual(['a.b=x=y', 'a.c=-1']);
});

test('a key without a value is true', () => {
  expect(takeOverrides(['--peft.rslora', '--json']).overrides).toEqual(['peft.rslora=true']);
});

test("a recipe's own top-level keys need no dot", () => {
  expect(takeOverrides(['--seed=3', '--new']).rest).toEqual(['--new']);
});
