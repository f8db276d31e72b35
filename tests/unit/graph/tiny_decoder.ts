/** A small decoder of the Llama shape, and data for it: what the passes are tried on. */
import type { DType, Graph, Value } from '../../../graph/index.js';
import { elements, GraphBuilder } from '../../../graph/index.js';

export interface TinyShape {
  T: number;
  D: number;
  H: number;
  G: number;
  K: number;
  F: number;
  V: number;
  layers: number;
  tied: boolean;
  bias: boolean;
  dtype: DType;
  attention: { causal: boolean; window: number | null };
  /** Longest document; the whole buffer where it is left out. */
  P?: number;
}

export const tiny: TinyShape = {
  T: 7,
  D: 6,
  H: 4,
  G: 2,
  K: 4,
  F: 5,
  V: 11,
  layers: 2,
  tied: true,
  bias: false,
  dtype: 'f32',
  attention: { causal: true, window: null },
};

export function tinyDecoder(change: Partial<TinyShape> = {}): Graph {
  const { T, D, H, G, K, F, V, layers, tied, bias, dtype, attention, P = T } = { ...tiny, ...change };
  const g = new GraphBuilder('tiny', { T, D, H, G, K, F, V, P });
  const idsT = g.input('ids', 'i32', 'T');
  const positionsT = g.input('positions', 'i32', 'T');
  const spansT2 = g.input('spans', 'i32', 'T 2');
  const ropePK = g.constant('rope', 'f32', 'P K');
  const embedVD = g.param('model.embed_tokens.weight', dtype, 'V D');
  let xTD = g.embedding('embed', embedVD, idsT);
  for (let i = 0; i < layers; i++) {
    g.scope(`layers.${i}`, () => {
      const at = `model.layers.${i}`;
      const project = (name: string, x: Value, axes: string) => {
        const module = name.length === 1 ? `${at}.self_attn.${name}_proj` : `${at}.mlp.${name}_proj`;
        const weight = g.param(`${module}.weight`, dtype, axes);
        return g.linear(name, x, weight, bias ? g.param(`${module}.bias`, dtype, axes.split(' ')[0]!) : null);
      };
      const nTD = g.rmsnorm('attn_norm', xTD, g.param(`${at}.input_layernorm.weight`, dtype, 'D'), 1e-5);
      const qTHK = g.rope('q_rope', project('q', nTD, 'HK D'), ropePK, positionsT, { headDim: K });
      const kTGK = g.rope('k_rope', project('k', nTD, 'GK D'), ropePK, positionsT, { headDim: K });
      const vTGK = project('v', nTD, 'GK D');
      const oTHK = g.attention(
        'attn',
        { q: qTHK, k: kTGK, v: vTGK, spansT2 },
        { headDim: K, scale: null, ...attention },
      );
      xTD = g.add('attn_out', xTD, project('o', oTHK, 'D HK'));
      const mTD = g.rmsnorm(
        'mlp_norm',
        xTD,
        g.param(`${at}.post_attention_layernorm.weight`, dtype, 'D'),
        1e-5,
      );
      const hTF = g.glu('h', project('gate', mTD, 'F D'), project('up', mTD, 'F D'), 'silu');
      xTD = g.add('mlp_out', xTD, project('down', hTF, 'D F'));
    });
  }
  g.output('hidden', g.rmsnorm('norm', xTD, g.param('model.norm.weight', dtype, 'D'), 1e-5));
  g.output('head', tied ? embedVD : g.param('lm_head.weight', dtype, 'V D'));
  return g.build();
}

/** Numbers that look random and are the same each time, in (−1, 1). */
export function numbers(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0;
    return (state / 2 ** 32) * 2 - 1;
  };
}

/** Inputs, weights and adapters for every value of `graph` that has to be fed; two documents, some labels masked. */
export function feedsFor(graph: Graph, seed = 1): Record<string, Float64Array> {
  const random = numbers(seed);
  const T = graph.axes.T!;
  const V = graph.axes.V!;
  const cut = Math.max(1, Math.floor(T * 0.4));
  const inDocument = (t: number) => (t < cut || cut === T ? t : t - cut);
  const whole = (below: number) => Math.floor(((random() + 1) / 2) * below);
  const special: Record<string, (i: number) => number> = {
    ids: () => whole(V),
    labels: (i) => (i % 3 === 2 ? -100 : whole(V)),
    targets: (i) => (i % 3 === 2 ? -100 : whole(V)),
    positions: inDocument,
    offsets: inDocument,
    packs: (t) => (t < cut ? 3 : 4),
    spans: (i) => (i % 2 === 1 ? (i - 1) / 2 : i / 2 < cut ? 0 : cut),
    window_spans: (i) => (i % 2 === 1 ? (i - 1) / 2 : Math.max(i / 2 < cut ? 0 : cut, i / 2 - 1)),
    document_spans: (i) => (i % 2 === 1 ? (i / 2 < cut ? cut : T) - 1 : i / 2 < cut ? 0 : cut),
    dropout_key: (i) => [17, 0, 5, 0][i]!,
    weight: () => 1 / Math.max(1, Math.ceil((2 * T) / 3)),
    max_norm: () => 0.5,
    adamw_scalars: (i) => [0.01, 0.9, 0.99, 1e-8, 0.1, 0.01][i]!,
  };
  const feeds: Record<string, Float64Array> = {};
  for (const value of graph.values) {
    if (value.kind === 'intermediate' || value.kind === 'output' || value.kind === 'state') continue;
    const size = elements(value.shape);
    const K = graph.axes.K ?? 2;
    const make =
      value.name === 'const:rope'
        ? (i: number) => {
            const [p, j] = [Math.floor(i / K), i % K];
            const angle = p / 100 ** ((2 * (j % (K / 2))) / K);
            return j < K / 2 ? Math.cos(angle) : Math.sin(angle);
          }
        : (special[value.name] ??
          (value.shape.length === 1 ? () => 1 + 0.3 * random() : () => 0.6 * random()));
    feeds[value.name] = Float64Array.from({ length: size }, (_, i) => make(i));
  }
  return feeds;
}

/** Largest difference relative to the largest magnitude. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = 0;
  let scale = 1e-30;
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  for (let i = 0; i < a.length; i++) {
    if (!(Number.isFinite(a[i]!) && Number.isFinite(b[i]!))) return Number.NaN;
    most = Math.max(most, Math.abs(a[i]! - b[i]!));
    scale = Math.max(scale, Math.abs(a[i]!), Math.abs(b[i]!));
  }
  return most / scale;
}
