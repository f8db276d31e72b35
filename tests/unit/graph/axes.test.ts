import { GraphBuilder, GraphError } from '../../../graph/index.js';
import { axisSize } from '../../../graph/ir/graph.js';
import { insertLora } from '../../../graph/passes/lora.js';

const sizes = { T: 6, D: 8, H: 2, K: 4, 'v:T': 9, 'v:D': 1152, 'v:H': 3, 'v:K': 5, 'e:F': 7 };

test.each([
  ['HK', 8],
  ['v:D', 1152],
  ['v:Hv:K', 15],
  ['v:HK', 12],
  ['e:FD', 56],
  ['12', 12],
])('%s is an axis of %d', (label, size) => {
  expect(axisSize(label, sizes)).toBe(size);
});

test('an axis without a size is named with its label, its meaning and what the graph has', () => {
  expect(() => axisSize('v:DF', { D: 8, 'v:D': 16 })).toThrow(
    new GraphError("axis 'v:DF': the graph gives no size for 'F' (feed-forward width); it has D v:D"),
  );
  expect(() => axisSize('w:D', { D: 8, 'v:D': 16 })).toThrow(
    new GraphError("axis 'w:D': the graph gives no size for 'w:D' (model width); it has D v:D"),
  );
});

test.each(['', 'v:', 'v:d', 'v:8', ':D', 'V:D', 'T D', 'D-', 'X'])("'%s' is no axis", (label) => {
  expect(() => axisSize(label, sizes)).toThrow(/is neither a number nor a product of T \(tokens/);
});

test('a product does not contract the width of a tower with the width of the model, whatever their sizes', () => {
  const g = new GraphBuilder('towers', { T: 6, D: 8, 'v:D': 8 });
  const xTD = g.input('x', 'f32', 'T v:D');
  expect(() => g.linear('y', xTD, g.param('w', 'f32', 'D D'))).toThrow(/v:D.*D/);
  expect(g.linear('y', xTD, g.param('v', 'f32', 'D v:D')).axes).toEqual(['T', 'D']);
});

test('the adapter of a projection has the axes of the projection, prefixes included', () => {
  const g = new GraphBuilder('tower', sizes);
  const x = g.input('x', 'f32', 'v:T v:D');
  g.linear('q', x, g.param('q_proj.weight', 'f32', 'v:Hv:K v:D'));
  const lora = { rank: 2, alpha: 4, rslora: false, dropout: 0, matches: () => true };
  const parameters = insertLora(g.build(), lora).values.filter(({ role }) => role === 'trained');
  expect(parameters.map(({ axes, shape }) => [axes, shape])).toEqual([
    [
      ['R', 'v:D'],
      [2, 1152],
    ],
    [
      ['v:Hv:K', 'R'],
      [15, 2],
    ],
  ]);
});
