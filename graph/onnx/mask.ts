/**
 * The additive attention mask [batch, 1, sequence, total], written once and read by every layer: a token sees the tokens
 * of its sequence up to itself that `attention_mask` keeps. Attention's own `is_causal` is not used, because runtimes
 * disagree on what it means once there is a past (the first row is position 0, or position `past`).
 */
import type { OnnxTarget } from './target.js';
import { slots } from './target.js';

/**
 * What is added to the score of a hidden token: low enough that its weight is 0, finite so that the rows of padding, which
 * see nothing, stay finite too, and in float16 far enough from the lowest value that no score overflows.
 */
const hidden = { f32: -3.4028234663852886e38, f16: -3e4 } as const;

export function causalMask(to: OnnxTarget): string {
  return to.shared('mask', () => {
    const length = (slot: string) => to.node('Shape', [slot], { attrs: { start: { i: 1 }, end: { i: 2 } } });
    const total = to.node('Squeeze', [length(slots.mask)]);
    const past = to.node('Sub', [total, to.node('Squeeze', [length(slots.ids)])]);
    const keys = to.node('Range', [to.int(0), total, to.int(1)]);
    const queries = to.node('Unsqueeze', [to.node('Range', [past, total, to.int(1)]), to.int([1])]);
    const causal = to.node('LessOrEqual', [keys, queries]);
    const kept = to.node('Cast', [slots.mask], { attrs: { to: { i: 9 } } });
    const visible = to.node('And', [causal, to.node('Unsqueeze', [kept, to.int([1, 2])])]);
    return to.node('Where', [visible, to.scalar(0), to.scalar(hidden[to.float])]);
  });
}
