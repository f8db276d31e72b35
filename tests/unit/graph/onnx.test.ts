/** Lowering to ONNX, read back by the schema that onnx.proto has; what it computes is tests/parity/onnx. */
import {
  encodeOnnx,
  type Graph,
  GraphBuilder,
  lowerToOnnx,
  type OnnxOptions,
  type OnnxTensor,
  tensorBytes,
} from '../../../graph/index.js';
import { printSlot, type ReadModel, readOnnx } from './onnx_schema.js';
import { tinyDecoder } from './tiny_decoder.js';

/** The file of a graph, its weights zero. */
function exported(graph: Graph, options: Partial<OnnxOptions> = {}): ReadModel {
  const onnx = lowerToOnnx(graph, { float: 'f32', ...options });
  const pieces = encodeOnnx(onnx, 'test', () => null);
  return readOnnx(Buffer.concat(pieces.map((piece) => (piece instanceof Uint8Array ? piece : zeros(piece)))));
}

const zeros = (tensor: OnnxTensor) => new Uint8Array(tensorBytes(tensor));
const nodes = (model: ReadModel, op: string) => model.graph.node.filter(({ op_type }) => op_type === op);

test('inputs and outputs are those that onnxruntime-genai and transformers.js know', () => {
  const { graph } = exported(tinyDecoder({ layers: 1 }));
  expect(graph.input.map(printSlot)).toEqual([
    'input_ids 7[batch_size,sequence_length]',
    'attention_mask 7[batch_size,total_sequence_length]',
    'position_ids 7[batch_size,sequence_length]',
    'past_key_values.0.key 1[batch_size,2,past_sequence_length,4]',
    'past_key_values.0.value 1[batch_size,2,past_sequence_length,4]',
  ]);
  expect(graph.output.map(printSlot)).toEqual([
    'logits 1[batch_size,sequence_length,11]',
    'present.0.key 1[batch_size,2,total_sequence_length,4]',
    'present.0.value 1[batch_size,2,total_sequence_length,4]',
  ]);
});

test('it is standard ONNX of opset 23 and IR version 10', () => {
  const model = exported(tinyDecoder());
  expect(model.ir_version).toBe(10);
  expect(model.opset_import).toEqual([{ domain: '', version: 23 }]);
});

test('in float16, weights and cache are float16 and logits float32', () => {
  const { graph } = exported(tinyDecoder({ layers: 1 }), { float: 'f16' });
  const floats = graph.initializer.filter(({ data_type }) => data_type !== 7);
  expect(new Set(floats.map(({ data_type }) => data_type))).toEqual(new Set([10]));
  expect(graph.input.slice(3).map(({ type }) => type.tensor_type.elem_type)).toEqual([10, 10]);
  expect(graph.output.map(({ type }) => type.tensor_type.elem_type)).toEqual([1, 10, 10]);
});

test('a tied table is in the file once', () => {
  const names = exported(tinyDecoder({ tied: true })).graph.initializer.map(({ name }) => name);
  expect(names.filter((name) => name === 'model.embed_tokens.weight')).toHaveLength(1);
  expect(names).not.toContain('lm_head.weight');
});

test('weights keep their shape and layout', () => {
  const { graph } = exported(tinyDecoder());
  const weight = graph.initializer.find(({ name }) => name === 'model.layers.1.mlp.down_proj.weight')!;
  expect(weight.dims).toEqual([6, 5]);
});

test('the RoPE table is two of half its width', () => {
  const { graph } = exported(tinyDecoder());
  const tables = graph.initializer.filter(({ name }) => name.startsWith('const:rope'));
  expect(tables.map(({ dims }) => dims)).toEqual([
    [7, 2],
    [7, 2],
  ]);
});

test('the mask is made once, whatever the number of layers', () => {
  const model = exported(tinyDecoder({ layers: 3 }));
  const [mask] = nodes(model, 'Where');
  expect(nodes(model, 'Where')).toHaveLength(1);
  expect(nodes(model, 'Attention').map(({ input }) => input[3])).toEqual(Array(3).fill(mask!.output[0]));
});

test('attention that looks ahead has a mask of its own, and no cache', () => {
  const model = exported(tinyDecoder({ layers: 1, attention: { causal: false, window: null } }));
  expect(model.graph.input.map(({ name }) => name)).toEqual(['input_ids', 'attention_mask', 'position_ids']);
  expect(model.graph.output.map(({ name }) => name)).toEqual(['logits']);
  expect(nodes(model, 'LessOrEqual')).toEqual([]);
});

test('GELU by tanh says so in a text attribute', () => {
  const g = GraphBuilder.from(tinyDecoder({ layers: 1 }));
  g.output('hidden', g.act('gelu', g.value(g.build().outputs.hidden!)!, 'gelu_tanh'));
  const [gelu] = nodes(exported(g.build()), 'Gelu');
  const [attribute] = gelu!.attribute!;
  expect({ ...attribute, s: Buffer.from(attribute!.s!).toString() }).toEqual({
    name: 'approximate',
    type: 'STRING',
    s: 'tanh',
  });
});

test('a layer reshapes at its projections’ outputs and its attention’s output alone', () => {
  const reshapes = (layers: number) => nodes(exported(tinyDecoder({ layers })), 'Reshape').length;
  expect(reshapes(3) - reshapes(2)).toBe(4);
});

test('nodes are named after the values of the model', () => {
  const names = exported(tinyDecoder({ layers: 1 })).graph.node.map(({ name }) => name);
  expect(names).toContain('layers.0.mlp_norm/RMSNormalization');
  expect(new Set(names).size).toBe(names.length);
});

test('a bias is the product’s own', () => {
  const model = exported(tinyDecoder({ bias: true }));
  const product = nodes(model, 'Gemm').find(({ input }) => input[1] === 'model.layers.0.mlp.up_proj.weight');
  expect(product!.input[2]).toBe('model.layers.0.mlp.up_proj.bias');
});

test('an adapter’s A and B are inputs under their own names, its scale is a factor', () => {
  const lora = { rank: 2, alpha: 6, rslora: false, dropout: 0.5 };
  const model = exported(tinyDecoder({ layers: 1 }), {
    adapter: { ...lora, matches: (module) => module.endsWith('q_proj') },
  });
  expect(model.graph.input.slice(3, 5).map(printSlot)).toEqual([
    'model.layers.0.self_attn.q_proj.lora_A.weight 1[2,6]',
    'model.layers.0.self_attn.q_proj.lora_B.weight 1[16,2]',
  ]);
  const product = nodes(model, 'Gemm').find(({ input }) => input[1]!.endsWith('lora_B.weight'))!;
  expect(product.attribute).toContainEqual({ name: 'alpha', type: 'FLOAT', f: 3 });
});

test('what no output needs is left out', () => {
  const g = GraphBuilder.from(tinyDecoder());
  g.scale('unused', g.find('attn_norm') ?? g.value(5)!, 2);
  expect(nodes(exported(g.build()), 'Mul')).toHaveLength(nodes(exported(tinyDecoder()), 'Mul').length);
});

test('an op without an ONNX form is named', () => {
  const g = new GraphBuilder('loss', { T: 4, V: 8, D: 8 });
  const logits = g.input('logits', 'f32', 'T V');
  g.emit('cross_entropy', [logits, g.input('labels', 'i32', 'T'), g.input('weight', 'f32', '1')], {
    grad: false,
    accumulate: 'never',
  });
  g.output('hidden', g.param('x', 'f32', 'T D'));
  g.output('head', g.param('w', 'f32', 'V D'));
  expect(() => exported(g.build())).toThrow("'cross_entropy' has no ONNX form");
});

test('a tensor may lie in another file', () => {
  const onnx = lowerToOnnx(tinyDecoder(), { float: 'f32' });
  const place = { location: 'weights.bin', offset: 4096, length: 264 };
  const pieces = encodeOnnx(onnx, 'test', () => place);
  const { graph } = readOnnx(Buffer.concat(pieces as Uint8Array[]));
  const table = graph.initializer.find(({ name }) => name === 'model.embed_tokens.weight')!;
  expect(table.raw_data).toBeUndefined();
  expect(table.external_data).toEqual([
    { key: 'location', value: 'weights.bin' },
    { key: 'offset', value: '4096' },
    { key: 'length', value: '264' },
  ]);
});
