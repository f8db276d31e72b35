/** The parameters of a LoRA adapter (Hu et al. 2021) and their initial values. */
import type { Init } from '../../graph/index.js';
import { loraNames } from '../../graph/index.js';
import { sha256 } from '../../shared/digest.js';
import type { PeftOptions } from './schema.js';

/** A linear module and its sizes. */
export interface LinearModule {
  module: string;
  in: number;
  out: number;
}

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

/** s: what B·A is multiplied by. */
export function loraScale({ rank, alpha, rslora }: Pick<PeftOptions, 'rank' | 'alpha' | 'rslora'>): number {
  return alpha / (rslora ? Math.sqrt(rank) : rank);
}

/**
 * Initial values as peft has them: A by Kaiming's uniform rule with a = √5, whose bound is 1/√in, or normal with
 * deviation 1/rank; B zero. The random stream of each parameter depends on its name alone.
 */
export function adapterInit(
  modules: readonly LinearModule[],
  { rank, init }: Pick<PeftOptions, 'rank' | 'init'>,
): Init[] {
  return adapterParameters(modules, rank).map(({ name, kind, shape }): Init => {
    if (kind === 'B') return { name, shape, kind: 'value', value: 0 };
    if (init === 'gaussian') return { name, shape, kind: 'normal', std: 1 / rank, site: siteOf(name) };
    return { name, shape, kind: 'uniform', bound: 1 / Math.sqrt(shape[1]), site: siteOf(name) };
  });
}

/** 31 bits that stand for a parameter's name in the random number counter. */
export function siteOf(name: string): number {
  return Number.parseInt(sha256(name).slice(0, 8), 16) >>> 1;
}
