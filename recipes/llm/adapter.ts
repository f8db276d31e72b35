/** The modules of a model that an adapter changes, and how: for training, scoring and publishing alike. */
import type { Model } from '../../components/models/index.js';
import { matchTargetModules, type PeftOptions } from '../../components/peft/index.js';
import type { LinearModule, LoraOptions } from '../../graph/index.js';

/** Returns the linear modules that the recipe's `peft.target_modules` name. @throws ModelError when one names none */
export function adaptedModules(peft: PeftOptions, { linearModules }: Model): LinearModule[] {
  const matched = new Set(
    matchTargetModules(
      peft.target_modules,
      linearModules.map(({ module }) => module),
    ),
  );
  return linearModules.filter(({ module }) => matched.has(module));
}

/** Returns the adapter that the compiler inserts for `modules`; without `dropout` where the adapter is only evaluated. */
export function loraOptions(
  { rank, alpha, rslora }: Pick<PeftOptions, 'rank' | 'alpha' | 'rslora'>,
  modules: readonly LinearModule[],
  dropout = 0,
): LoraOptions {
  const adapted = new Set(modules.map(({ module }) => module));
  return { rank, alpha, rslora, dropout, matches: (module) => adapted.has(module) };
}
