/**
 * upload: y = x from input slots (host memory) to the device; download: y = x from the device to output slots; copy: y = x
 * between buffers of the device. No kernel computes them: they are the executor's own. One record moves many tensors.
 */
import { GraphError } from '../ir/error.js';
import type { Op } from './op.js';
import { many } from './operands.js';
import { signatures } from './signatures.js';

const transfer = (name: 'upload' | 'copy' | 'download'): Op => ({
  name,
  operands: { inputs: many('x'), outputs: many('y') },
  attributes: {},
  signatures: signatures('R -> R', 'S -> S', 'P -> P'),
  infer(inputs) {
    if (inputs.length === 0) throw new GraphError(`${name}: there is nothing to move`);
    return inputs.map(({ axes, dtype }) => ({ axes, dtype }));
  },
  flops: () => 0,
  evaluate: (inputs) => inputs.map(({ data }) => data.slice()),
});

export const upload = transfer('upload');
export const copy = transfer('copy');
export const download = transfer('download');
