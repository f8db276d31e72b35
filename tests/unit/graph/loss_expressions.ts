/** Losses that are more than a sum of cross-entropies. */
import { lossRule } from '../../../components/loss/index.js';
import type { GraphBuilder, LossInputs, LossRule, Value } from '../../../graph/index.js';
import { Arithmetic } from '../../../graph/index.js';

type Append = LossRule['append'];

const linear = lossRule('linear_ce').append;
const chunked = lossRule('chunked_ce').append;

/** Cross-entropy of half the hidden states. */
const auxiliary: Append = (g, inputs) =>
  linear(g, { ...inputs, hidden: g.scale('half', inputs.hidden, 0.5) });

/** A trained scalar. */
const scalar = (g: GraphBuilder): Value => g.param('scalar', 'f32', '1');

const mathOf = (g: GraphBuilder): Arithmetic => new Arithmetic(g.emit);

function logprobsOf(g: GraphBuilder, { hidden, head, labels }: LossInputs): Value {
  return g.emit('linear_logprobs', [hidden, head, labels], { compute: 'f32', chunk_rows: 4 })[0]!;
}

/** Focal loss (Lin et al. 2017): −Σ (1 − p)² log p, of values [T]. */
function focal(g: GraphBuilder, inputs: LossInputs): Value {
  const math = mathOf(g);
  const logprobs = logprobsOf(g, inputs);
  const distance = math.square(math.subtract(1, math.exp(logprobs)));
  return math.einsum('t,t,o->o', distance, math.negate(logprobs), inputs.weight);
}

/**
 * Direct preference optimization (Rafailov et al. 2023): −log σ(β(log p(chosen) − log p(rejected) − margin)). Two slots of the
 * graph's inputs say with which weight a token belongs to either completion.
 */
function preference(g: GraphBuilder, inputs: LossInputs): Value {
  const math = mathOf(g);
  const logprobs = logprobsOf(g, inputs);
  const [chosen, rejected] = ['chosen', 'rejected'].map((name) =>
    math.einsum('t,t,o->o', logprobs, g.input(name, 'f32', 'T'), math.number(1)),
  );
  const margin = math.subtract(math.subtract(chosen!, rejected!), g.input('margin', 'f32', '1'));
  return math.multiply(math.negate(math.logSigmoid(math.multiply(margin, 0.3))), inputs.weight);
}

export const lossExpressions: Readonly<Record<string, Append>> = {
  'log(ce)': (g, inputs) => mathOf(g).log(linear(g, inputs)),
  'log(ce), or 0 without a weight': (g, inputs) => {
    const math = mathOf(g);
    return math.log(math.where(inputs.weight, linear(g, inputs), math.number(1)));
  },
  'log(ce of logits)': (g, inputs) => mathOf(g).log(chunked(g, inputs)),
  'ce · aux': (g, inputs) => mathOf(g).multiply(linear(g, inputs), auxiliary(g, inputs)),
  'ce ÷ aux': (g, inputs) => mathOf(g).divide(chunked(g, inputs), auxiliary(g, inputs)),
  'ce²': (g, inputs) => mathOf(g).square(linear(g, inputs)),
  'exp(−s) · ce + s': (g, inputs) => {
    const math = mathOf(g);
    return math.add(math.multiply(linear(g, inputs), math.exp(math.negate(scalar(g)))), scalar(g));
  },
  'ce whose weight is trained': (g, inputs) =>
    linear(g, { ...inputs, weight: mathOf(g).multiply(inputs.weight, scalar(g)) }),
  'ce of logits whose weight is trained': (g, inputs) =>
    chunked(g, { ...inputs, weight: mathOf(g).multiply(inputs.weight, scalar(g)) }),
  'ce + ce · aux': (g, inputs) => {
    const ce = linear(g, inputs);
    return g.add('sum', ce, mathOf(g).multiply(ce, auxiliary(g, inputs)));
  },
  'ce + aux where ce > 0': (g, inputs) => {
    const math = mathOf(g);
    const [ce, aux] = [linear(g, inputs), auxiliary(g, inputs)];
    return g.add('sum', ce, math.where(math.greater(ce, 0), aux, math.negate(aux)));
  },
  'ce + 0.1 · aux': (g, inputs) => {
    const math = mathOf(g);
    return math.add(linear(g, inputs), math.multiply(auxiliary(g, inputs), 0.1));
  },
  'ce + the same ce again': (g, inputs) => g.add('sum', linear(g, inputs), linear(g, inputs)),
  focal,
  preference,
};
