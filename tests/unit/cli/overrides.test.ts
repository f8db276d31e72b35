import { takeOverrides } from '../../../cli/overrides.js';

test('dotted keys are overrides, in both spellings, and flags are left', () => {
  const argv = ['run', 'a.yaml', '--training.num_epochs=1', '--json', '--data.train.path', 'x.jsonl'];
  expect(takeOverrides(argv)).toEqual({
    rest: ['run', 'a.yaml', '--json'],
    overrides: ['training.num_epochs=1', 'data.train.path=x.jsonl'],
  });
});

test('a value may contain an equals sign and be negative', () => {
  expect(takeOverrides(['plan', '--a.b=x=y', '--a.c', '-1']).overrides).toEqual(['a.b=x=y', 'a.c=-1']);
});

test('a key without a value is true', () => {
  expect(takeOverrides(['run', '--peft.rslora', '--json']).overrides).toEqual(['peft.rslora=true']);
});

test("a recipe's own top-level keys need no dot", () => {
  expect(takeOverrides(['run', '--seed=3', '--new']).rest).toEqual(['run', '--new']);
});

test('a command without a recipe keeps its own flags of such names', () => {
  const argv = ['generate', '--model', 'm', '--seed=3', '--prompt', 'Hello'];
  expect(takeOverrides(argv)).toEqual({ rest: argv, overrides: [] });
});
