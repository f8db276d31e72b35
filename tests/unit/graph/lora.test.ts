import type { Graph } from '../../../graph/index.js';
import { getValue, interpret, randomStream } from '../../../graph/index.js';
import { insertLora } from '../../../graph/passes/lora.js';
import { feedsFor, tinyDecoder } from './tiny_decoder.js';

describe('dropout of adapters', () => {
  /** The last linear: a counter that runs through the adapted ones would give it another number in each graph. */
  const module = 'model.layers.1.mlp.down_proj';
  /** Returns where the module's mask is 0. The input that it is multiplied with depends on the other adapters. */
  function droppedPlaces(matches: (name: string) => boolean): boolean[] {
    const graph = insertLora(tinyDecoder(), { rank: 3, alpha: 6, rslora: false, dropout: 0.5, matches });
    const down = graph.nodes.find(({ inputs }) =>
      inputs.some((id) => getValue(graph, id).name === `${module}.lora_A.weight`),
    )!;
    const input = interpret(graph, feeds(graph))[getValue(graph, down.inputs[0]!).name]!;
    return [...input].map((x) => x === 0);
  }
  // Fed by name: the base's own values must not depend on which adapters there are.
  const base = feedsFor(tinyDecoder());
  const feeds = (graph: Graph) => ({ ...feedsFor(graph), ...base });

  test('a module’s mask is the same whatever other modules are adapted', () => {
    const alone = droppedPlaces((name) => name === module);
    expect(droppedPlaces((name) => name.endsWith('_proj'))).toEqual(alone);
    expect(droppedPlaces((name) => /(q|down)_proj$/.test(name))).toEqual(alone);
    expect(new Set(alone)).toEqual(new Set([true, false]));
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
