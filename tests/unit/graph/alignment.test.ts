/** A plan for a target whose buffers in the arena are aligned to more than a cache line. */
import { lossRule } from '../../../components/loss/index.js';
import type { Plan } from '../../../graph/index.js';
import { compileCast, compileInit, compileScoring, compileTraining, compileValidation } from './checked.js';
import { tinyDecoder } from './tiny_decoder.js';

const loss = lossRule('linear_ce');
const optimizer = { op: 'adamw', attrs: {}, weightDecay: () => 0.1 };
const options = { graph: tinyDecoder(), loss, optimizer };

const offsets = ({ buffers }: Plan) =>
  buffers.filter(({ space, view }) => space === 'arena' && view === null).map(({ offset }) => offset!);
const isAligned = (offset: number) => offset % 256 === 0;

test.each([
  ['training', compileTraining({ ...options, alignment: 256 }), compileTraining(options)],
  ['validation', compileValidation({ ...options, alignment: 256 }), compileValidation(options)],
  ['scoring', compileScoring({ graph: options.graph, alignment: 256 }), compileScoring(options)],
])('%s lays its buffers out for the target, and says so', (_, aligned, plain) => {
  expect(offsets(aligned.plan).every(isAligned)).toBe(true);
  expect(offsets(plain.plan).every(isAligned)).toBe(false);
  expect([aligned.plan.alignment, plain.plan.alignment]).toEqual([256, 64]);
  expect(aligned.plan.digest).not.toBe(plain.plan.digest);
  expect(aligned.plan.arenaBytes).toBeGreaterThan(plain.plan.arenaBytes);
  expect(aligned.memory.arena).toBe(aligned.plan.arenaBytes);
  expect(aligned.memory.arenaLowerBound).toBeGreaterThan(plain.memory.arenaLowerBound);
});

test('the least recompute is chosen by the bytes that the aligned arena takes', () => {
  const arena = compileTraining({ ...options, alignment: 256 }).plan.arenaBytes;
  const within = (arenaBudget: number) =>
    compileTraining({
      ...options,
      alignment: 256,
      recompute: { mode: 'auto', arenaBudget: () => arenaBudget },
    });
  expect(within(arena).recomputed).toMatchObject({ full: 0, cheap: 0 });
  expect(within(arena - 1).recomputed).not.toMatchObject({ full: 0, cheap: 0 });
});

test('plans that fill or convert tensors are aligned too', () => {
  const init = { name: 'a', shape: [2], kind: 'value', value: 1 } as const;
  const cast = { from: { name: 'a', dtype: 'bf16' }, to: { name: 'b', dtype: 'f32' }, shape: [2] } as const;
  expect(compileInit([init], 1, 256).alignment).toBe(256);
  expect(compileCast([cast], 256).alignment).toBe(256);
});
