import type { Graph } from '../../../graph/index.js';
import { getValue, interpret, randomStream } from '../../../graph/index.js';
import { insertLora } from '../../../graph/passes/lora.js';
import { feedsFor, tinyDecoder } from './tiny_decoder.js';

describe('dropout of adapters', () => {
  const module = 'model.layers.0.self_attn.q_proj';
  /** The module's dropped input: the layer's normed input times its mask. */
  function droppedInput(matches: (name: string) => boolean): Float64Array {
    const graph = insertLora(tinyDecoder(), { rank: 3, alpha: 6, rslora: false, dropout: 0.5, matches });
    const down = graph.nodes.find(({ inputs }) =>
      inputs.some((id) => getValue(graph, id).name === `${module}.lora_A.weight`),
    )!;
    return interpret(graph, feeds(graph))[getValue(graph, down.inputs[0]!).name]!;
  }
  // Fed by name: the base's own values must not depend on which adapters there are.
  const base = feedsFor(tinyDecoder());
  const feeds = (graph: Graph) => ({ ...feedsFor(graph), ...base });

  test('a module’s mask is the same whatever other modules are adapted', () => {
    const alone = droppedInput((name) => name === module);
    expect(droppedInput((name) => name.endsWith('_proj'))).toEqual(alone);
    expect(droppedInput((name) => /[qv]_proj$/.test(name))).toEqual(alone);
    expect(alone.some((x) => x === 0)).toBe(true);
  });

  test('modules draw from streams of their own', () => {
    const graph = insertLora(tinyDecoder(), {
      rank: 3,
      alpha: 6,
      rslora: false,
      dropout: 0.5,
      matches: (name) => name.endsWith('_proj'),
    });
    const sites = graph.nodes.filter(({ op }) => op === 'dropout').map(({ attrs }) => attrs.site);
    expect(new Set(sites).size).toBe(sites.length);
    expect(sites).toContain(randomStream(module));
  });
});
