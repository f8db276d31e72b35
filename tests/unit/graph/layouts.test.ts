/** Layouts along the axes of a mesh: every op's signatures are proved, and the rule that applies them. */
import type { Attrs, Op, Placement, Tensor, Value } from '../../../graph/index.js';
import {
  formulaOp,
  GraphBuilder,
  opOf,
  placementOn,
  planOps,
  registerOp,
  shardedDimension,
} from '../../../graph/index.js';
import { execute } from '../../../graph/ops/execute.js';
import { signatureTurns, type Turn } from '../../../graph/ops/layout_rule.js';
import { type Signature, signatures } from '../../../graph/ops/signatures.js';
import { checkGraph } from '../../../graph/ops/types.js';
import { accumulateGradients } from '../../../graph/passes/accumulate.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { appendOptimizer } from '../../../graph/passes/optimizer.js';
import { type Case, cases, declareInputs, otherCases } from './op_cases.js';
import { difference, feedsFor, numbers } from './tiny_decoder.js';

const ranks = 2;

/** Along two mesh axes, every dimension is cut into four, and q, k and v into whole heads. */
const sizes = { T: 8, D: 4, H: 8, G: 4, K: 4, F: 8, V: 12 };

const allCases = Object.values({ ...cases(sizes), ...otherCases(sizes) });

/** A node on whole values, with numbers for its inputs and for what its outputs held before. */
interface Example {
  readonly op: Op;
  readonly attrs: Attrs;
  readonly values: readonly Value[];
  readonly inputs: readonly Tensor[];
  readonly before: readonly Tensor[];
}

function exampleOf(test: Case): Example {
  const g = new GraphBuilder('example', { ...sizes, P: sizes.T });
  const values = declareInputs(g, test);
  // An op that can add to its outputs is proved adding to them.
  const attrs = test.attrs.accumulate === undefined ? test.attrs : { ...test.attrs, accumulate: 'always' };
  const outputs = g.emit(test.op, values, attrs);
  const feeds = feedsFor(g.build(), 7);
  const random = numbers(11);
  return {
    op: opOf(test.op),
    attrs,
    values,
    inputs: values.map(({ name, shape }) => ({ shape, data: feeds[name]! })),
    before: outputs.map(({ shape }) => ({
      shape,
      data: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 1 + 0.3 * random()),
    })),
  };
}

interface NodeLayout {
  readonly inputs: readonly Placement[];
  readonly outputs: readonly Placement[];
}

/** Every layout of a node along one mesh axis: a signature for each turn, all agreeing on what the turns share. */
function layoutsOf(turns: readonly Turn[]): NodeLayout[] {
  let layouts: NodeLayout[] = [{ inputs: [], outputs: [] }];
  for (const turn of turns) {
    layouts = layouts.flatMap((chosen) =>
      turn.signatures.flatMap((signature) => {
        const inputs = merged(chosen.inputs, turn.inputs, signature.inputs);
        const outputs = merged(chosen.outputs, turn.outputs, signature.outputs);
        return inputs === null || outputs === null ? [] : [{ inputs, outputs }];
      }),
    );
  }
  return layouts;
}

function merged(chosen: readonly Placement[], places: readonly number[], placements: readonly Placement[]) {
  const all = [...chosen];
  for (const [i, place] of places.entries()) {
    if ((all[place] ?? placements[i]) !== placements[i]) return null;
    all[place] = placements[i]!;
  }
  return all;
}

/** Cuts a tensor into each rank's part. */
function cut({ shape, data }: Tensor, placement: Placement, seed: number): Tensor[] {
  const dimension = shardedDimension(placement);
  if (placement === 'R')
    return [
      { shape, data },
      { shape, data },
    ];
  if (dimension === null) {
    const random = numbers(seed);
    const first = data.map(() => random());
    return [first, data.map((x, i) => x - first[i]!)].map((part) => ({ shape, data: part }));
  }
  const local = partShape(shape, dimension);
  const inner = local.slice(dimension).reduce((a, b) => a * b, 1);
  return [0, 1].map((rank) => ({
    shape: local,
    data: data.filter((_, i) => Math.floor(i / inner) % ranks === rank),
  }));
}

function partShape(shape: readonly number[], dimension: number): number[] {
  if (shape[dimension]! % ranks !== 0)
    throw new Error(`[${shape}] cannot be cut along dimension ${dimension}`);
  return shape.map((size, i) => (i === dimension ? size / ranks : size));
}

/** Joins the ranks' parts into the whole tensor; NaN where ranks differ that should not. */
function join(parts: readonly Float64Array[], placement: Placement, shape: readonly number[]): Float64Array {
  const [first, second] = parts as [Float64Array, Float64Array];
  const dimension = shardedDimension(placement);
  if (placement === 'R') return difference(first, second) < 1e-12 ? first : first.map(() => Number.NaN);
  if (dimension === null) return first.map((x, i) => x + second[i]!);
  const inner = partShape(shape, dimension)
    .slice(dimension)
    .reduce((a, b) => a * b, 1);
  const next = [0, 0];
  return Float64Array.from({ length: first.length + second.length }, (_, i) => {
    const rank = Math.floor(i / inner) % ranks;
    return parts[rank]![next[rank]!++]!;
  });
}

/** Runs the node on each rank's parts, along one mesh axis after the other, and joins what they give. */
function runSharded(example: Example, layouts: readonly NodeLayout[]): Float64Array[] {
  const { op, attrs, inputs, before } = example;
  const [layout, ...rest] = layouts;
  if (layout === undefined) return execute(op, attrs, inputs, before, { first: false, rounding: false });
  const cutInputs = inputs.map((tensor, i) => cut(tensor, layout.inputs[i]!, i + 1));
  const cutBefore = before.map((tensor, i) => cut(tensor, layout.outputs[i]!, i + 101));
  const parts = [0, 1].map((rank) =>
    runSharded(
      {
        ...example,
        inputs: cutInputs.map((tensor) => tensor[rank]!),
        before: cutBefore.map((tensor) => tensor[rank]!),
      },
      rest,
    ),
  );
  return before.map(({ shape }, i) =>
    join(
      parts.map((outputs) => outputs[i]!),
      layout.outputs[i]!,
      shape,
    ),
  );
}

/** The largest difference between the outputs of ranks, joined, and those of one process. */
function errorOf(example: Example, ...layouts: NodeLayout[]): number {
  const whole = runSharded(example, []);
  const joined = runSharded(example, layouts);
  return Math.max(...whole.map((data, i) => difference(joined[i]!, data)));
}

const examplesOf = (op: Op): Example[] => allCases.filter((test) => test.op === op.name).map(exampleOf);

const print = ({ inputs, outputs }: Signature): string => [...inputs, '->', ...outputs].join(' ');

/** The layouts of a node whose op has only these signatures. */
function layoutsWith({ op, values, attrs }: Example, own: readonly Signature[]): NodeLayout[] {
  const only = typeof op.signatures === 'function' ? () => own : own;
  return layoutsOf(signatureTurns({ ...op, signatures: only }, values, attrs));
}

const signaturesOf = ({ op, values, attrs }: Example): readonly Signature[] =>
  typeof op.signatures === 'function' ? op.signatures(values, attrs) : (op.signatures ?? []);

test('all ops of plans have signatures', () => {
  expect(planOps.filter((op) => op.signatures === undefined)).toEqual([]);
});

describe.each(planOps.map((op) => [op.name, op] as const))('%s', (_name, op) => {
  const examples = examplesOf(op);
  const texts = new Set(examples.flatMap((example) => signaturesOf(example).map(print)));

  test.each([...texts])('%s: what ranks compute is, joined, what one process computes', (text) => {
    const triedLayouts = examples.flatMap((example) => {
      const signature = signaturesOf(example).find((candidate) => print(candidate) === text);
      if (signature === undefined) return [];
      const layouts = layoutsWith(example, [signature]);
      for (const layout of layouts) expect(errorOf(example, layout)).toBeLessThan(1e-12);
      return layouts;
    });
    expect(triedLayouts.length).toBeGreaterThan(0);
  });

  test('signatures along two mesh axes combine', () => {
    for (const example of examples) {
      const layouts = signaturesOf(example).flatMap((signature) => layoutsWith(example, [signature]));
      for (const outer of layouts)
        for (const inner of layouts) expect(errorOf(example, outer, inner)).toBeLessThan(1e-12);
    }
  });

  test('takes whole values, has one entry for each operand, and gives one answer for given inputs', () => {
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) {
      const { values, attrs, before } = example;
      const nodeSignatures = signaturesOf(example);
      const { inputs, outputs } =
        typeof op.signatures === 'function' ? { inputs: values, outputs: before } : op.operands!;
      expect(nodeSignatures.map((s) => [s.inputs.length, s.outputs.length])).toEqual(
        nodeSignatures.map(() => [inputs.length, outputs.length]),
      );
      expect(
        [...nodeSignatures[0]!.inputs, ...nodeSignatures[0]!.outputs].every((entry) => entry === 'R'),
      ).toBe(true);
      for (const turn of signatureTurns(op, values, attrs)) {
        const inputTexts = turn.signatures.map((signature) => signature.inputs.join(' '));
        expect(new Set(inputTexts).size).toBe(inputTexts.length);
      }
    }
  });
});

/** Returns the shapes of the outputs that the shape rule gives a rank for its parts of the inputs. */
function inferParts({ op, attrs, values, inputs }: Example, layout: NodeLayout): string[] {
  const parts = values.map((value, i): Value => {
    const { shape } = cut(inputs[i]!, layout.inputs[i]!, 1)[0]!;
    return { ...value, shape, axes: shape.map(String) };
  });
  return op.infer(parts, attrs).map(({ axes }) => axes.join(' '));
}

/** Ops with signatures as data. One that is told the axes of its outputs is told those of the whole. */
const inferring = planOps.flatMap((op) =>
  op.signatures === undefined ||
  typeof op.signatures === 'function' ||
  Object.values(op.shapeAttributes ?? {}).includes('text')
    ? []
    : op.signatures.map((signature) => [op.name, print(signature), op] as const),
);

/** Signatures by the tokens of q alone: with fewer queries than keys, which the shape rule and the kernels refuse. */
const fewerQueries = ['S0 R R S0 -> S0 S1', 'S0 S0 R R S0 S1 S0 -> S0 P P'];

test.each(inferring)('a rank’s parts make a node of %s with the same attributes: %s', (_name, text, op) => {
  for (const example of examplesOf(op)) {
    for (const layout of layoutsWith(example, signatures(text))) {
      const expected = example.before.map((tensor, i) =>
        cut(tensor, layout.outputs[i]!, 1)[0]!.shape.join(' '),
      );
      if (fewerQueries.includes(text))
        expect(() => inferParts(example, layout)).toThrow('expected q [T, HK]');
      else expect(inferParts(example, layout)).toEqual(expected);
    }
  }
});

test.each([
  [
    'einsum',
    'td,fd,t->tf',
    ['R R R -> R', 'S0 R S0 -> S0', 'R S0 R -> S1', 'S1 S1 R -> P', 'P R R -> P', 'R P R -> P', 'R R P -> P'],
  ],
  ['einsum', 'td,t->t', ['R R -> R', 'S0 S0 -> S0', 'S1 R -> P', 'P R -> P', 'R P -> P']],
  ['reshape', `T ${sizes.H} ${sizes.K}`, ['R -> R', 'P -> P', 'S0 -> S0', 'S1 -> S1']],
  ['reshape', 'T HK', ['R -> R', 'P -> P', 'S0 -> S0', 'S1 -> S1']],
  ['softmax_shift', undefined, ['R -> R', 'S0 -> S0', 'S1 -> S1']],
  ['binary', 'multiply', ['R R -> R', 'S S -> S', 'P R -> P', 'R P -> P']],
])('%s %s has the signatures that follow from its attributes', (op, attribute, expected) => {
  const example = examplesOf(opOf(op)).find(
    ({ attrs }) => (attrs.spec ?? attrs.axes ?? attrs.fn) === attribute,
  )!;
  expect(signaturesOf(example).map(print)).toEqual(expected);
});

test('products of one matmul may take signatures of their own, where they give the same', () => {
  const example = exampleOf(cases(sizes)['matmul a·b + s·cᵀ·d']!);
  const layouts = layoutsWith(example, signaturesOf(example));
  // One way each to be R, S0 or S1; three for each product to be Partial.
  expect(layouts.length).toBe(3 + 9);
  for (const layout of layouts) expect(errorOf(example, layout)).toBeLessThan(1e-12);
});

// Attention's mask is whole: a pass that splits the attention has to convert it.
const fallbackCases = Object.entries(cases(sizes)).filter(
  ([, { op }]) => opOf(op).fallback !== undefined && op !== 'attention',
);

test.each(fallbackCases)('%s: its fallback gives the layouts of its signatures', (_name, example) => {
  const { op, attrs, values } = exampleOf(example);
  for (const layout of layoutsOf(signatureTurns(op, values, attrs))) {
    const g = new GraphBuilder('fallback', { ...sizes, P: sizes.T });
    const inputs = values.map(({ name, dtype, axes }, i) =>
      g.input(name, dtype, axes.join(' '), { tensor: layout.inputs[i]! }),
    );
    const outputs = op.fallback!(g.emit, inputs, attrs);
    expect(outputs.map((value) => placementOn(value.layout, 'tensor'))).toEqual(layout.outputs);
  }
});

test.each([
  ['glu', 'P R -> P'],
  ['rmsnorm', 'S1 S0 -> S1 R'],
  ['attention', 'S0 S0 S0 R -> S0 S1'],
  ['shift', 'P -> P'],
  ['einsum', 'P P R -> P'],
  ['reshape', 'S1 -> S2'],
])('a signature that does not hold is found out: %s, %s', (op, text) => {
  const example = examplesOf(opOf(op))[0]!;
  const [layout] = layoutsWith(example, signatures(text));
  expect(errorOf(example, layout!)).not.toBeLessThan(1e-12);
});

describe('the layout rule', () => {
  const g = new GraphBuilder('layouts', { T: 4, D: 6, F: 8, V: 9 });
  const x = g.input('x', 'f32', 'T D');

  test('a column-parallel and then a row-parallel linear leave summands', () => {
    const up = g.linear('up', x, g.param('up', 'bf16', 'F D', { tensor: 'S0' }));
    expect(up.layout).toEqual({ tensor: 'S1' });
    const down = g.linear('down', up, g.param('down', 'bf16', 'D F', { tensor: 'S1' }));
    expect(down.layout).toEqual({ tensor: 'P' });
  });

  test('each mesh axis has a signature of its own', () => {
    const h = g.input('h', 'f32', 'T F', { tensor: 'S1', context: 'S0' });
    const y = g.linear('y', h, g.param('w', 'bf16', 'D F', { tensor: 'S1' }));
    expect(y.layout).toEqual({ tensor: 'P', context: 'S0' });
  });

  test('the error names the op, the mesh axis, the inputs and the signatures', () => {
    const sum = g.input('sum', 'f32', 'T D', { tensor: 'P' });
    expect(() => g.rmsnorm('norm', sum, g.param('scale', 'bf16', 'D'), 1e-5)).toThrow(
      "rmsnorm on mesh axis 'tensor': sum P, scale R; its signatures are 'R R -> R R', 'S0 R -> S0 S0': convert an input first",
    );
  });

  test('signatures are named as the node has its operands: transposed, and without those that it lacks', () => {
    const w = g.param('v', 'bf16', 'V D', { context: 'S1' });
    expect(() => g.linear('y', x, w)).toThrow(
      "x R, v S1; its signatures are 'R R -> R', 'S0 R -> S0', 'R S0 -> S1', 'S1 S1 -> P', 'P R -> P', 'R P -> P'",
    );
  });

  test('products that give different layouts are refused', () => {
    const rows = g.input('rows', 'f32', 'T D', { context: 'S0' });
    const w = g.param('narrow', 'bf16', 'V D');
    const attrs = {
      compute: 'f32',
      trans_a: [false, false],
      trans_b: [true, true],
      alpha: [1, 1],
      bias: false,
      residual: false,
      accumulate: 'never',
    };
    expect(() => g.emit('matmul', [x, w, rows, w], attrs)).toThrow(
      "matmul on mesh axis 'context': rows S0, narrow R; these give S0, the operands before them R",
    );
  });

  test('an einsum has the signatures of its letters', () => {
    const sum = g.input('sum', 'f32', 'T D', { tensor: 'P' });
    const split = g.input('split', 'f32', 'T D', { tensor: 'S0' });
    expect(g.emit('einsum', [sum, x], { spec: 'td,td->t' })[0]!.layout).toEqual({ tensor: 'P' });
    expect(g.emit('einsum', [split, split], { spec: 'td,td->t' })[0]!.layout).toEqual({ tensor: 'S0' });
    expect(() => g.emit('einsum', [split, x], { spec: 'td,td->d' })).toThrow(
      "einsum on mesh axis 'tensor': split S0, x R; its signatures are 'R R -> R', 'S1 S1 -> S0', 'S0 S0 -> P', 'P R -> P', 'R P -> P'",
    );
  });

  test('a formula takes whole values', () => {
    registerOp(
      formulaOp({ name: 'test_twice', attributes: {}, compute: (math, [v]) => [math.multiply(v!, 2)] }),
    );
    const sum = g.input('sum', 'f32', 'T D', { tensor: 'P' });
    expect(() => g.emit('test_twice', [sum])).toThrow(
      "test_twice on mesh axis 'tensor': sum P; its signatures are 'R -> R'",
    );
  });

  test('a layout that splits a dimension which is not there is refused', () => {
    expect(() => g.input('bad', 'f32', 'T D', { tensor: 'S2' })).toThrow(
      'bad: tensor:S2 splits a dimension that [T D] lacks',
    );
  });
});

describe('nodes that passes append', () => {
  /** A classifier whose rows are split, so that each rank has a summand of its weight's gradient. */
  const splitRows = () => {
    const g = new GraphBuilder('split rows', { T: 4, D: 2, V: 3 });
    const [rows, labels] = [
      g.input('rows', 'f32', 'T D', { context: 'S0' }),
      g.input('labels', 'i32', 'T', { context: 'S0' }),
    ];
    const logits = g.linear('logits', rows, g.param('w', 'f32', 'V D'));
    g.output('loss', g.crossEntropy('loss', logits, labels, g.input('weight', 'f32', '1')));
    return accumulateGradients(autodiff(g.build()));
  };

  test('the norm refuses gradients that are not whole', () => {
    const graph = splitRows();
    expect(graph.values.find(({ name }) => name === 'grad:w')!.layout).toEqual({ context: 'P' });
    expect(() => appendOptimizer(graph, { op: 'adamw', attrs: {}, weightDecay: () => 0 })).toThrow(
      "global_norm on mesh axis 'context': grad:w P; its signatures are 'R -> R R'",
    );
  });

  /** Appends the update of a parameter, with its gradient and moments as they are said to lie. */
  const update = (p: Placement, gradient: Placement, moment: Placement, op: string) => {
    const g = new GraphBuilder('update', { F: 8, D: 6 });
    const parameter = g.param('w', 'f32', 'F D', { tensor: p });
    const state = (name: string) => g.state(name, 'optimizer', 'f32', 'F D', { tensor: moment });
    const slots = ['norm', 'max_norm'].map((name) => g.input(name, 'f32', '1'));
    g.append({
      op,
      inputs: [
        parameter,
        g.state('grad:w', 'gradient', 'f32', 'F D', { tensor: gradient }),
        ...slots,
        g.input('scalars', 'f32', op === 'adamw' ? '6' : '3'),
      ],
      outputs: [parameter, ...(op === 'adamw' ? [state('m:w'), state('v:w')] : [state('momentum:w')])],
      attrs: op === 'adamw' ? { weight_decay: 0 } : { weight_decay: 0, momentum: true },
    });
  };

  test.each(['adamw', 'sgd'])(
    '%s refuses a gradient of summands, and moments that lie unlike the parameter',
    (op) => {
      expect(() => update('R', 'P', 'R', op)).toThrow(`${op} on mesh axis 'tensor': w R, grad:w P`);
      expect(() => update('S0', 'S0', 'R', op)).toThrow(
        /output m\S*:w\[F D\] f32 should be \[F D\] tensor:S0/,
      );
      update('S0', 'S0', 'S0', op);
    },
  );

  test('checkGraph finds a node that a pass wrote itself and whose output lies otherwise', () => {
    const g = new GraphBuilder('rewritten', { T: 4, D: 6 });
    g.scale('y', g.input('x', 'f32', 'T D', { tensor: 'S1' }), 2);
    const graph = g.build();
    checkGraph(graph);
    const values = graph.values.map((value) => (value.kind === 'input' ? value : { ...value, layout: {} }));
    expect(() => checkGraph({ ...graph, values })).toThrow(
      'scale: output y[T D] f32 should be [T D] tensor:S1',
    );
  });
});
