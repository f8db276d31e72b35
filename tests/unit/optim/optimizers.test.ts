import {
  optimizerDefinitions,
  optimizerInputs,
  optimizerSchema,
  optimizerSpec,
} from '../../../components/optim/index.js';
import { opOf, updateInputs } from '../../../graph/index.js';

const names = optimizerDefinitions().map(({ name }) => name);

test.each(names)('every option of %s has a default, and its op takes its scalars', (name) => {
  const options = optimizerSchema().parse({ name });
  const { op, attrs, weightDecay } = optimizerSpec(options);
  const { optimizer, attributes } = opOf(op);
  expect(Object.keys({ ...attrs, weight_decay: weightDecay('w') }).sort()).toEqual(
    Object.keys(attributes).sort(),
  );
  const inputs = optimizerInputs(options, 1, 0.5, null);
  expect(Object.keys(inputs)).toEqual(['max_norm', `${op}_scalars`]);
  expect(inputs[`${op}_scalars`]).toHaveLength(optimizer!.scalars.length);
  expect(inputs[`${op}_scalars`]![0]).toBe(0.5);
});

test('adamw’s scalars are in the order of its op, with the bias corrections of the step', () => {
  const options = optimizerSchema().parse({ name: 'adamw', betas: [0.5, 0.75], eps: 0.25 });
  expect(opOf('adamw').optimizer!.scalars).toEqual([
    'lr',
    'beta1',
    'beta2',
    'eps',
    'bias_correction1',
    'bias_correction2',
  ]);
  expect(optimizerInputs(options, 2, 0.125, 1)).toEqual({
    max_norm: Float32Array.of(1),
    adamw_scalars: Float32Array.of(0.125, 0.5, 0.75, 0.25, 0.75, 0.4375),
  });
});

test('sgd marks its first step, and keeps a buffer only with momentum', () => {
  const options = optimizerSchema().parse({ name: 'sgd', momentum: 0.5 });
  const scalars = (step: number) => optimizerInputs(options, step, 2, 1).sgd_scalars;
  expect(scalars(1)).toEqual(Float32Array.of(2, 0.5, 1));
  expect(scalars(2)).toEqual(Float32Array.of(2, 0.5, 0));
  expect(optimizerSpec(options).attrs).toEqual({ momentum: true });
  expect(optimizerSpec(optimizerSchema().parse({ name: 'sgd' })).attrs).toEqual({ momentum: false });
});

test('globs exclude parameters from weight decay', () => {
  const { weightDecay } = optimizerSpec(
    optimizerSchema().parse({ name: 'adamw', weight_decay: 0.1, no_decay: ['*norm.weight'] }),
  );
  expect(weightDecay('model.norm.weight')).toBe(0);
  expect(weightDecay('model.embed_tokens.weight')).toBe(0.1);
});

test('scalars that an optimizer does not take are refused by name', () => {
  expect(() => updateInputs('sgd', { lr: 1, momentum: 0 }, 1)).toThrow(
    'sgd takes lr, momentum, first_step, not lr, momentum',
  );
});
