/**
 * Prints an activation function by the graph of another checkout, at each number of the command line: its value, its fallback's
 * and its slope, as JSON.
 *
 * Usage: activation_probe.js <folder with graph/> <function> <x>…
 */
import path from 'node:path';

type GraphRoom = typeof import('../../../../graph/index.js');

const [folder, fn, ...numbers] = process.argv.slice(2);
const { GraphBuilder, interpret, opOf }: GraphRoom = await import(path.join(folder!, 'graph/index.js'));

const x = numbers.map(Number);
const g = new GraphBuilder('activation', { T: x.length });
const [input, one] = [g.input('x', 'f32', 'T'), g.input('one', 'f32', 'T')];
g.act('value', input, fn!);
const [fallback] = opOf('act').fallback!(g.emit, [input], { fn: fn! });
g.emit('act_grad', [one, input], { fn: fn! }, { names: ['slope'] });
const run = interpret(g.build(), { x, one: x.map(() => 1) });
process.stdout.write(
  JSON.stringify(x.map((_, i) => [run.value![i], run[fallback!.name]![i], run.slope![i]])),
);
