/** einsum: products of operands, summed over the letters the result does not name. No letter twice in an operand. */
import type { Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import type { Placement } from '../ir/layout.js';
import type { Op } from './op.js';
import { demand, text, zeros } from './op.js';
import { many, one } from './operands.js';
import { type Signature, signatures } from './signatures.js';

interface Spec {
  readonly operands: string[];
  readonly result: string;
}

function parseSpec(spec: string): Spec {
  const [left, right] = spec.split('->') as [string, string];
  return { operands: left.split(','), result: right };
}

/**
 * A letter of the result splits with every operand that has it; one that is summed over leaves summands. The product is linear in
 * each operand.
 */
function einsumSignatures({ operands, result }: Spec, inputs: readonly Value[]): Signature[] {
  const isSplittable = (letter: string) =>
    operands.every(
      (letters, i) => !letters.includes(letter) || inputs[i]!.shape[letters.indexOf(letter)]! > 1,
    );
  const along = (letters: string, letter: string, otherwise: Placement): Placement =>
    letters.includes(letter) ? `S${letters.indexOf(letter)}` : otherwise;
  const letters = [...new Set([...result, ...operands.join('')])].filter(isSplittable);
  const summands = (i: number): Signature => ({
    inputs: operands.map((_, j) => (i === j ? 'P' : 'R')),
    outputs: ['P'],
  });
  return [
    ...signatures(`${operands.map(() => 'R').join(' ')} -> R`),
    ...letters.map(
      (letter): Signature => ({
        inputs: operands.map((operand) => along(operand, letter, 'R')),
        outputs: [along(result, letter, 'P')],
      }),
    ),
    ...operands.map((_, i) => summands(i)),
  ];
}

export const einsum: Op = {
  name: 'einsum',
  operands: { inputs: many('x'), outputs: one('y') },
  attributes: { spec: 'text' },
  signatures: (inputs, attrs) => einsumSignatures(parseSpec(text(attrs, 'spec')), inputs),
  infer(inputs, attrs) {
    const { operands, result } = parseSpec(text(attrs, 'spec'));
    demand(
      inputs.length === operands.length,
      'einsum',
      inputs,
      `${operands.length} operands for ${text(attrs, 'spec')}`,
    );
    const labels = new Map<string, { label: string; size: number }>();
    operands.forEach((letters, i) => {
      demand(
        inputs[i]!.axes.length === letters.length,
        'einsum',
        inputs,
        `operand ${i} to have axes ${letters}`,
      );
      [...letters].forEach((letter, dim) => {
        const [label, size] = [inputs[i]!.axes[dim]!, inputs[i]!.shape[dim]!];
        const first = labels.get(letter);
        demand(first === undefined || first.size === size, 'einsum', inputs, `one size for ${letter}`);
        if (first === undefined || /^\d/.test(first.label)) labels.set(letter, { label, size });
      });
    });
    return [{ axes: [...result].map((letter) => labels.get(letter)!.label), dtype: 'f32' }];
  },
  flops({ inputs, attrs }) {
    const { operands } = parseSpec(text(attrs, 'spec'));
    const sizes = new Map(
      operands.flatMap((letters, i) => [...letters].map((l, d) => [l, inputs[i]!.shape[d]!])),
    );
    return inputs.length * elements([...sizes.values()]);
  },
  vjp(emit, { inputs, attrs }, [dy], needs) {
    const { operands, result } = parseSpec(text(attrs, 'spec'));
    return inputs.map((input, i) => {
      if (!needs[i]) return null;
      const others = inputs.filter((_, j) => j !== i);
      const spec = [result, ...operands.filter((_, j) => j !== i)];
      const args: Value[] = [dy!, ...others];
      // A letter that only this operand has was summed away: its gradient is the same all along it.
      [...operands[i]!].forEach((letter, dim) => {
        if (spec.some((letters) => letters.includes(letter))) return;
        args.push(emit('literal', [], { axes: input.axes[dim]!, values: [1] })[0]!);
        spec.push(letter);
      });
      return emit('einsum', args, { spec: `${spec.join(',')}->${operands[i]!}` })[0]!;
    });
  },
  evaluate(inputs, attrs, [shape]) {
    const { operands, result } = parseSpec(text(attrs, 'spec'));
    const letters = [...new Set([...result, ...operands.join('')])];
    const sizes = letters.map((letter) => {
      const i = operands.findIndex((operand) => operand.includes(letter));
      return inputs[i]!.shape[operands[i]!.indexOf(letter)]!;
    });
    const strides = (operand: string, dims: readonly number[]) =>
      letters.map((letter) => {
        const at = operand.indexOf(letter);
        return at < 0 ? 0 : elements(dims.slice(at + 1));
      });
    const steps = operands.map((operand, i) => strides(operand, inputs[i]!.shape));
    const out = strides(result, shape!);
    const y = zeros(shape!);
    const index = new Array<number>(letters.length).fill(0);
    const total = elements(sizes);
    const offset = (step: readonly number[]) => step.reduce((sum, stride, d) => sum + stride * index[d]!, 0);
    for (let n = 0; n < total; n++) {
      let product = 1;
      steps.forEach((step, i) => {
        product *= inputs[i]!.data[offset(step)]!;
      });
      y[offset(out)]! += product;
      for (let d = letters.length - 1; d >= 0; d--) {
        index[d]!++;
        if (index[d]! < sizes[d]!) break;
        index[d] = 0;
      }
    }
    return [y];
  },
};
