/** The Llama-family decoder (Touvron et al. 2023): its forward pass as a graph, and the family for the registry. */
import { type DType, type Graph, GraphBuilder, type Value } from '../../../graph/index.js';
import { ModelError } from '../../../shared/errors.js';
import type { ForwardOptions, Model, ModelFamily } from '../family.js';
import { ropeTable } from '../rope.js';
import { architecture, type LlamaConfig, parseLlamaConfig } from './config.js';
import { llamaConfigFromGguf } from './gguf.js';
import { isIgnoredLlamaTensor, layerLinears, llamaGgufTensor, llamaTensors } from './weights.js';

/** Axes: T tokens, D model, H query heads, G key/value heads, K head size, F feed-forward, V vocabulary, S boundaries, P positions. */
export function llamaForward(config: LlamaConfig, options: ForwardOptions): Graph {
  const { heads, kvHeads, headDim, rmsNormEps: eps } = config;
  const g = new GraphBuilder('llama', {
    T: options.tokens,
    S: options.tokens + 1,
    P: options.positions,
    D: config.hiddenSize,
    H: heads,
    G: kvHeads,
    K: headDim,
    F: config.intermediateSize,
    V: config.vocabSize,
  });
  const param = (name: string, axes: string) => g.param(name, dtypeOf(options.dtypes, name), axes);

  const idsT = g.input('ids', 'i32', 'T');
  const positionsT = g.input('positions', 'i32', 'T');
  const segmentsS = g.input('segments', 'i32', 'S');
  const ropePK = g.constant('rope', 'f32', 'P K');

  const embedVD = param('model.embed_tokens.weight', 'V D');
  let xTD = g.embedding('embed', embedVD, idsT);
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`;
    const linears = new Map(layerLinears(config, layer).map((linear) => [linear.module, linear]));
    const linear = (module: string, x: Value): Value => {
      const { out, in: input, bias } = linears.get(`${at}.${module}`)!;
      const weight = param(`${at}.${module}.weight`, `${out.axis} ${input.axis}`);
      return g.linear(module, x, weight, bias ? param(`${at}.${module}.bias`, out.axis) : null);
    };
    const rope = (name: string, x: Value, n: number) =>
      g.rope(name, x, ropePK, positionsT, { heads: n, headDim });

    g.layer(layer, () => {
      const attentionInTD = g.rmsnorm('attn_norm', xTD, param(`${at}.input_layernorm.weight`, 'D'), eps);
      const q = rope('q_rope', linear('self_attn.q_proj', attentionInTD), heads);
      const k = rope('k_rope', linear('self_attn.k_proj', attentionInTD), kvHeads);
      const v = linear('self_attn.v_proj', attentionInTD);
      const mixed = g.attention('attention', { q, k, v, segmentsS }, { heads, kvHeads, headDim });
      xTD = g.add('attn_out', xTD, linear('self_attn.o_proj', mixed));

      const mlpInTD = g.rmsnorm('mlp_norm', xTD, param(`${at}.post_attention_layernorm.weight`, 'D'), eps);
      const hiddenTF = g.swiglu('swiglu', linear('mlp.gate_proj', mlpInTD), linear('mlp.up_proj', mlpInTD));
      xTD = g.add('mlp_out', xTD, linear('mlp.down_proj', hiddenTF));
    });
  }
  g.output('hidden', g.rmsnorm('norm', xTD, param('model.norm.weight', 'D'), eps));
  g.output('head', config.tiedEmbeddings ? embedVD : param('lm_head.weight', 'V D'));
  return g.build();
}

function dtypeOf(dtypes: ReadonlyMap<string, DType>, name: string): DType {
  const dtype = dtypes.get(name);
  if (dtype === undefined) throw new ModelError(`the weights have no tensor ${name}`);
  return dtype;
}

function llamaModel(config: LlamaConfig): Model {
  const linears = Array.from({ length: config.layers }, (_, layer) => layerLinears(config, layer)).flat();
  const linearModules = linears.map(({ module, in: input, out }) => ({
    module,
    in: input.size,
    out: out.size,
  }));
  return {
    architecture,
    modelType: 'llama',
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    layers: config.layers,
    attention: { heads: config.heads, kvHeads: config.kvHeads, headDim: config.headDim },
    maxPositions: config.maxPositions,
    bosTokenId: config.bosTokenId,
    eosTokenIds: config.eosTokenIds,
    padTokenId: config.padTokenId,
    tiedEmbeddings: config.tiedEmbeddings,
    tensors: llamaTensors(config),
    linearModules,
    isIgnored: (name) => isIgnoredLlamaTensor(config, name),
    forward: (options) => llamaForward(config, options),
    constants: (positions) =>
      new Map([
        [
          'rope',
          { shape: [positions, config.headDim], data: ropeTable(config.rope, config.headDim, positions) },
        ],
      ]),
    ggufTensor: (name) => llamaGgufTensor(config, name),
  };
}

export const llama: ModelFamily = {
  architecture,
  ggufArchitectures: ['llama'],
  model: (config, place) => llamaModel(parseLlamaConfig(config, place)),
  configFromGguf: llamaConfigFromGguf,
};
