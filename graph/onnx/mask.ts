/**
 * The additive attention mask [batch, 1, sequence, total], written once and read by every layer that asks for the same: a token
 * sees the tokens of its sequence that `attention_mask` keeps, up to itself where attention is causal. Attention's own
 * `is_causal` is not used, because runtimes disagree on what it means once there is a past (the first row is position 0, or
 * position `past`).
 */
import type { OnnxTarget } from './target.js';
import { slots } from './target.js';

/**
 * What is added to the score of a hidden token: low enough that its weight is 0, finite so that the rows of padding, which
 * see nothing, stay finite too, and in float16 far enough from the lowest value that no score overflows.
 */
const hidden = { f32: -3.4028234663852886e38, f16: -3e4 } as const;

/** @param window distance from which on a token does not see another one; 0 where there is none */
export function attentionMask(
  to: OnnxTarget,
  { causal, window }: { causal: boolean; window: number },
): string {
  const name = `${causal ? 'mask' : 'mask_both_ways'}${window === 0 ? '' : `_within_${window}`}`;
  return to.shared(name, () => {
    const length = (slot: string) => to.node('Shape', [slot], { attrs: { start: { i: 1 }, end: { i: 2 } } });
    const total = to.node('Squeeze', [length(slots.mask)]);
    const sequence = length(slots.ids);
    const past = to.node('Sub', [total, to.node('Squeeze', [sequence])]);
    const keys = to.node('Range', [to.int(0), total, to.int(1)]);
    const queries = to.node('Unsqueeze', [to.node('Range', [past, total, to.int(1)]), to.int([1])]);
    const within = (from: string, until: string) =>
      to.node('Less', [to.node('Sub', [until, from]), to.int(window)]);
    const conditions = [
      ...(causal ? [to.node('LessOrEqual', [keys, queries])] : []),
      ...(window > 0 ? [within(keys, queries)] : []),
      ...(window > 0 && !causal ? [within(queries, keys)] : []),
    ];
    const kept = to.node('Cast', [slots.mask], { attrs: { to: { i: 9 } } });
    const keptKeys = to.node('Unsqueeze', [kept, to.int([1, 2])]);
    const visible =
      conditions.length > 0
        ? conditions.reduce((all, condition) => to.node('And', [condition, all]), keptKeys)
        : to.node('Expand', [
            keptKeys,
            to.node('Concat', [to.int([1, 1]), sequence, to.int([1])], { attrs: { axis: { i: 0 } } }),
          ]);
    return to.node('Where', [visible, to.scalar(0), to.scalar(hidden[to.float])]);
  });
}
