/**
 * attention: grouped-query, each token over the keys of its span (i32 [T, 2]: the first and the last key that it sees; neither
 * decreases from one token to the next). P = softmax(scale · q·kᵀ), o = P·v;
 * lse is the log of each row's softmax sum. Backward (Dao et al. 2022): P = exp(S − lse), D = Σ(do ⊙ o), dv = Pᵀ·do,
 * dS = P ⊙ (do·vᵀ − D), dq = scale · dS·k, dk = scale · dSᵀ·q; a key/value head sums over its query heads.
 */
import type { Attrs, AxisSizes, Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import { attentionMask } from '../onnx/mask.js';
import type { AttributeTypes, Op, Tensor } from './op.js';
import { demand, flag, num, sameAxes, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

/** Returns the numbers of heads; a rank that has a part of them has their columns alone. */
function headsOf(q: Tensor | Value, k: Tensor | Value, attrs: Attrs) {
  const size = num(attrs, 'head_dim');
  return { heads: q.shape[1]! / size, kvHeads: k.shape[1]! / size, size };
}

function checkShape(op: string, inputs: readonly Value[], q: Value, k: Value, v: Value, attrs: Attrs): void {
  const { heads, kvHeads, size } = headsOf(q, k, attrs);
  demand(
    q.axes.length === 2 && sameAxes(k, v) && q.axes[0] === k.axes[0],
    op,
    inputs,
    'q [T, HK], k and v [T, GK]',
  );
  demand(
    Number.isInteger(kvHeads) && heads % kvHeads === 0,
    op,
    inputs,
    `whole heads of size ${size}, of q a multiple of those of k and v`,
  );
  demand(num(attrs, 'window') >= 0, op, inputs, 'a window of no fewer than 0 tokens');
}

/** The first and the last key that a token sees. */
const spanOf = (spans: Tensor, token: number): [first: number, last: number] => [
  spans.data[2 * token]!,
  spans.data[2 * token + 1]!,
];

/**
 * Returns the floating-point operations of one product over the keys that tokens see, in documents as long as they can be: an
 * upper bound. In a document of length L the mean token looks back on w − w²/2L keys, w = L without a window, and, where
 * attention is not causal, on as many ahead.
 */
function productFlops(q: Value, { P: longest }: AxisSizes, attrs: Attrs): number {
  const length = Math.min(q.shape[0]!, longest ?? Number.POSITIVE_INFINITY);
  const window = Math.min(num(attrs, 'window') || length, length);
  const keys = (window - window ** 2 / (2 * length)) * (flag(attrs, 'causal') ? 1 : 2);
  return 2 * keys * elements(q.shape);
}

const attributes: AttributeTypes = {
  compute: 'text',
  head_dim: 'integer',
  scale: 'number',
};

/**
 * What spans hold, for whoever cannot read them: a token sees no key after itself (`causal`) and none that is `window` tokens
 * away or more (0: as far as its document goes).
 */
const shapeAttributes: AttributeTypes = { causal: 'flag', window: 'integer' };

export const attention: Op = {
  name: 'attention',
  operands: { inputs: one('q', 'k', 'v', 'spans'), outputs: one('o', 'lse') },
  attributes,
  shapeAttributes,
  computes: true,
  // By whole heads, or by the tokens of q with all keys at hand: spans number them from the start of the whole buffer.
  signatures: signatures('R R R R -> R R', 'S1 S1 S1 R -> S1 S0', 'S0 R R S0 -> S0 S1'),
  infer(inputs, attrs) {
    const [q, k, v, spans] = inputs;
    demand(
      inputs.length === 4 && spans!.dtype === 'i32' && spans!.axes.join(' ') === `${q!.axes[0]} 2`,
      'attention',
      inputs,
      'q, k, v and spans i32 [T, 2]',
    );
    checkShape('attention', inputs, q!, k!, v!, attrs);
    return [
      { axes: q!.axes, dtype: 'f32' },
      { axes: [String(headsOf(q!, k!, attrs).heads), q!.axes[0]!], dtype: 'f32' },
    ];
  },
  flops: ({ inputs, attrs }, axes) => 2 * productFlops(inputs[0]!, axes, attrs),
  vjp(emit, { inputs, outputs, attrs }, [dy], needs) {
    const [q, k, v, spans] = inputs;
    const grads = emit('attention_grad', [dy!, q!, k!, v!, outputs[0]!, outputs[1]!, spans!], attrs, {
      dtypes: [q!.dtype, k!.dtype, v!.dtype],
    });
    return [...grads.map((grad, i) => (needs[i] ? grad : null)), null];
  },
  evaluate([q, k, v, spans], attrs, shapes) {
    const [tokens, width] = shapes[0] as [number, number];
    const { heads, kvHeads, size } = headsOf(q!, k!, attrs);
    const factor = num(attrs, 'scale');
    const kvWidth = kvHeads * size;
    const o = zeros(shapes[0]!);
    const lse = zeros(shapes[1]!);
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h / (heads / kvHeads));
      for (let t = 0; t < tokens; t++) {
        const [first, last] = spanOf(spans!, t);
        const scores = new Float64Array(last + 1 - first);
        for (let s = first; s <= last; s++) {
          let dot = 0;
          for (let j = 0; j < size; j++)
            dot += q!.data[t * width + h * size + j]! * k!.data[s * kvWidth + kvHead * size + j]!;
          scores[s - first] = factor * dot;
        }
        const top = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
        const sum = scores.reduce((a, b) => a + Math.exp(b - top), 0);
        lse[h * tokens + t] = top + Math.log(sum);
        for (let s = first; s <= last; s++) {
          const p = Math.exp(scores[s - first]! - lse[h * tokens + t]!);
          for (let j = 0; j < size; j++)
            o[t * width + h * size + j]! += p * v!.data[s * kvWidth + kvHead * size + j]!;
        }
      }
    }
    return [o, lse];
  },
  float32: [1],
  fallback(emit, [q, k, v, spans], attrs) {
    const { heads, kvHeads, size } = headsOf(q!, k!, attrs);
    const tokens = q!.axes[0]!;
    const group = heads / kvHeads;
    const [qs] = emit('reshape', [q!], { axes: `${tokens} ${kvHeads} ${group} ${size}` });
    const [ks] = emit('reshape', [k!], { axes: `${tokens} ${kvHeads} ${size}` });
    const [vs] = emit('reshape', [v!], { axes: `${tokens} ${kvHeads} ${size}` });
    const [dots] = emit('einsum', [qs!, ks!], { spec: 'tghk,sgk->ghts' });
    const [scores] = emit('scale', [dots!], { alpha: attrs.scale! });
    const [mask] = emit('span_mask', [spans!], { axis: tokens });
    // What is masked is far below everything else, so its exponential is 0; and softmax's shift, so that none overflows.
    const [masked] = emit('shift', [mask!], { by: -1 });
    const [below] = emit('scale', [masked!], { alpha: 1e30 });
    const [eachGH] = emit('literal', [], { axes: `${kvHeads} ${group}`, values: [1] });
    const [bias] = emit('einsum', [below!, eachGH!], { spec: 'ts,gh->ghts' });
    const [allowed] = emit('add', [scores!, bias!]);
    const [largest] = emit('softmax_shift', [allowed!]);
    const [minusEach] = emit('literal', [], { axes: tokens, values: [-1] });
    const [down] = emit('einsum', [largest!, minusEach!], { spec: 'ght,s->ghts' });
    const [shifted] = emit('add', [allowed!, down!]);
    const [weights] = emit('unary', [shifted!], { fn: 'exp' });
    const [sums] = emit('einsum', [weights!], { spec: 'ghts->ght' });
    const [inverse] = emit('unary', [sums!], { fn: 'reciprocal' });
    const [os] = emit('einsum', [weights!, vs!, inverse!], { spec: 'ghts,sgk,ght->tghk' });
    const [o] = emit('reshape', [os!], { axes: q!.axes.join(' ') });
    const [logs] = emit('unary', [sums!], { fn: 'log' });
    const [logsOfSums] = emit('add', [logs!, largest!]);
    const [lse] = emit('reshape', [logsOfSums!], { axes: `${heads} ${tokens}` });
    return [o!, lse!];
  },
  onnx(to, [q, k, v], { inputs, attrs }) {
    const { heads, kvHeads, size } = headsOf(inputs[0]!, inputs[1]!, attrs);
    const kv = (rows: string) => to.batched(rows, [kvHeads * size]);
    const causal = flag(attrs, 'causal');
    const mask = attentionMask(to, { causal, window: num(attrs, 'window') });
    // Tokens that look ahead cannot be computed before what they see: there is no past to keep.
    const cache = causal ? to.cache(kvHeads, size) : null;
    const past = cache === null ? [] : [cache.pastKey, cache.pastValue];
    const present = cache === null ? [] : [cache.presentKey, cache.presentValue];
    const mixed = to.node('Attention', [to.batched(q!, [heads * size]), kv(k!), kv(v!), mask, ...past], {
      attrs: { q_num_heads: { i: heads }, kv_num_heads: { i: kvHeads }, scale: { f: num(attrs, 'scale') } },
      outputs: [to.fresh('Attention'), ...present],
    });
    return [to.rows(mixed, [heads * size]), null];
  },
};

export const attentionGrad: Op = {
  name: 'attention_grad',
  operands: {
    inputs: one('do', 'q', 'k', 'v', 'o', 'lse', 'spans'),
    outputs: one('dq', 'dk', 'dv'),
  },
  attributes,
  shapeAttributes,
  computes: true,
  signatures: signatures(
    'R R R R R R R -> R R R',
    'S1 S1 S1 S1 S1 S0 R -> S1 S1 S1',
    'S0 S0 R R S0 S1 S0 -> S0 P P',
  ),
  infer(inputs, attrs) {
    const [dy, q, k, v, o] = inputs;
    demand(
      inputs.length === 7 && sameAxes(dy!, q!) && sameAxes(o!, q!),
      'attention_grad',
      inputs,
      'do, q, k, v, o, lse, spans',
    );
    checkShape('attention_grad', inputs, q!, k!, v!, attrs);
    return [q!, k!, v!].map((value) => ({ axes: value.axes, dtype: 'f32' as const }));
  },
  // q·kᵀ and do·vᵀ again, then dv, dq and dk: five products where forward has two.
  flops: ({ inputs, attrs }, axes) => 5 * productFlops(inputs[1]!, axes, attrs),
  evaluate([dy, q, k, v, o, lse, spans], attrs, shapes) {
    const [tokens, width] = shapes[0] as [number, number];
    const { heads, kvHeads, size } = headsOf(q!, k!, attrs);
    const factor = num(attrs, 'scale');
    const kvWidth = kvHeads * size;
    const [dq, dk, dv] = shapes.map(zeros) as [Float64Array, Float64Array, Float64Array];
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h / (heads / kvHeads));
      for (let t = 0; t < tokens; t++) {
        const row = t * width + h * size;
        let delta = 0;
        for (let j = 0; j < size; j++) delta += dy!.data[row + j]! * o!.data[row + j]!;
        const [first, last] = spanOf(spans!, t);
        for (let s = first; s <= last; s++) {
          const kv = s * kvWidth + kvHead * size;
          let score = 0;
          let dp = 0;
          for (let j = 0; j < size; j++) {
            score += q!.data[row + j]! * k!.data[kv + j]!;
            dp += dy!.data[row + j]! * v!.data[kv + j]!;
          }
          const p = Math.exp(factor * score - lse!.data[h * tokens + t]!);
          const ds = factor * p * (dp - delta);
          for (let j = 0; j < size; j++) {
            dv[kv + j]! += p * dy!.data[row + j]!;
            dq[row + j]! += ds * k!.data[kv + j]!;
            dk[kv + j]! += ds * q!.data[row + j]!;
          }
        }
      }
    }
    return [dq, dk, dv];
  },
};
