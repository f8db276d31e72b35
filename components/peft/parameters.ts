/** The parameters of a LoRA adapter (Hu et al. 2021) and their initial values. */
import type { Init, LinearModule } from '../../graph/index.js';
import { loraNames, randomStream } from '../../graph/index.js';
import type { PeftOptions } from './schema.js';

export interface AdapterParameter {
  /** `<module>.lora_A.weight` [R, in] or `<module>.lora_B.weight` [out, R]. */
  name: string;
  module: string;
  kind: 'A' | 'B';
  shape: [rows: number, columns: number];
}

export function adapterParameters(modules: readonly LinearModule[], rank: number): AdapterParameter[] {
  return modules.flatMap(({ module, in: input, out }): AdapterParameter[] => {
    const { a, b } = loraNames(module);
    return [
      { name: a, module, kind: 'A', shape: [rank, input] },
      { name: b, module, kind: 'B', shape: [out, rank] },
    ];
  });
}

/**
 * Returns the initial values as peft has them: A by Kaiming's uniform rule with a = √5, whose bound is 1/√in, or normal
 * with deviation 1/rank; B zero. The random stream of each parameter depends only on its name.
 */
export function adapterInit(
  modules: readonly LinearModule[],
  { rank, init }: Pick<PeftOptions, 'rank' | 'init'>,
): Init[] {
  return adapterParameters(modules, rank).map(({ name, kind, shape }): Init => {
    if (kind === 'B') return { name, shape, kind: 'value', value: 0 };
    if (init === 'gaussian') return { name, shape, kind: 'normal', std: 1 / rank, site: randomStream(name) };
    return { name, shape, kind: 'uniform', bound: 1 / Math.sqrt(shape[1]), site: randomStream(name) };
  });
}
