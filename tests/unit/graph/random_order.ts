import type { Graph } from '../../../graph/index.js';
import { dependencies } from '../../../graph/passes/liveness.js';
import { programs } from '../../../graph/passes/schedule.js';
import { numbers } from './tiny_decoder.js';

/** A random legal order of every program: values must not depend on which legal order is run. */
export function randomOrder(graph: Graph, seed: number): Graph {
  const random = numbers(seed);
  const nodes = [...programs(graph).values()].flatMap((program) => {
    const waiting = dependencies(graph, program).map((before, at) => ({ at, before: new Set(before) }));
    const order: number[] = [];
    while (waiting.length > 0) {
      const ready = waiting.filter(({ before }) => before.size === 0);
      const next = ready[Math.floor(((random() + 1) / 2) * ready.length)]!;
      waiting.splice(waiting.indexOf(next), 1);
      for (const { before } of waiting) before.delete(next.at);
      order.push(next.at);
    }
    return order.map((at) => program[at]!);
  });
  return { ...graph, nodes };
}
