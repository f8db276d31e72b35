/**
 * upload: y = x from input slots (host memory) to the device's memory; download: y = x from there to output slots. They
 * are the executor's own: no kernel computes them. One record moves many tensors.
 */
import { GraphError } from '../ir/error.js';
import type { Op } from './op.js';

const transfer = (name: 'upload' | 'download'): Op => ({
  name,
  attributes: {},
  infer(inputs) {
    if (inputs.length === 0) throw new GraphError(`${name}: there is nothing to move`);
    return inputs.map(({ axes, dtype, placement }) => ({ axes, dtype, placement }));
  },
  flops: () => 0,
  evaluate: (inputs) => inputs.map(({ data }) => data.slice()),
});

export const upload = transfer('upload');
export const download = transfer('download');
