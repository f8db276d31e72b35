/** The ops' ONNX rules in ONNX Runtime against the float64 interpreter, including those that no exported model uses. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  type Attrs,
  encodeOnnx,
  type Graph,
  GraphBuilder,
  interpret,
  lowerToOnnx,
  type OnnxTensor,
  outputOf,
  type Value,
} from '../../graph/index.js';
import { activationNames } from '../../graph/ops/activation.js';
import { matmulCall } from '../../graph/ops/matmul.js';
import { OnnxProcess } from '../support/onnx.js';
import { feedsFor, tinyDecoder } from '../unit/graph/tiny_decoder.js';

let runtime: OnnxProcess;
let folder: string;
beforeAll(async () => {
  runtime = new OnnxProcess();
  folder = await mkdtemp(path.join(tmpdir(), 'temper-onnx-ops-'));
});
afterAll(async () => {
  await runtime.stop();
  await rm(folder, { recursive: true, force: true });
});

const windows = { attention: { causal: true, window: 3 } };
const bothWays = { attention: { causal: false, window: null } };
const windowsBothWays = { attention: { causal: false, window: 3 } };

const graphs: [name: string, graph: Graph][] = [
  ['a decoder', tinyDecoder({ T: 9 })],
  ['a decoder with biases and a separate head', tinyDecoder({ T: 9, tied: false, bias: true })],
  ['a decoder whose heads each have their own keys', tinyDecoder({ T: 9, G: 4 })],
  ['a decoder whose tokens look back on three', tinyDecoder({ T: 9, ...windows })],
  ['a tower whose tokens see all others', tinyDecoder({ T: 9, ...bothWays })],
  ['a tower whose tokens see three on either side', tinyDecoder({ T: 9, ...windowsBothWays })],
  ...activationNames.flatMap((fn): [string, Graph][] => [
    [`glu ${fn}`, activated((g, x) => g.glu('h', x, g.scale('up', x, -0.7), fn))],
    [`act ${fn}`, activated((g, x) => g.act('h', x, fn))],
  ]),
  ['products added to a bias and a residual', buildProducts()],
  ['scale and cast', buildScaled()],
];

test.each(graphs)('ONNX Runtime scores %s as the interpreter does', async (_name, graph) => {
  const tokens = graph.axes.T!;
  const feeds: Record<string, Float64Array> = {
    ...feedsFor(graph),
    positions: Float64Array.from({ length: tokens }, (_, t) => t),
    spans: spansOf(graph),
  };
  const ids = [...feeds.ids!];
  const model = await writeModel(graph, feeds);
  // What looks ahead has no past to keep.
  const hows = attentionOf(graph).causal
    ? (['whole', 'cached', 'padded'] as const)
    : (['whole', 'padded'] as const);
  for (const how of hows) {
    const [scores] = await runtime.score({ model, documents: [ids], how });
    const exact = exactScores(graph, feeds, ids);
    expect(Math.max(...scores!.map((score, i) => Math.abs(score - exact[i]!)))).toBeLessThan(1e-5);
  }
});

const attentionOf = (graph: Graph): Attrs =>
  graph.nodes.find(({ op }) => op === 'attention')?.attrs ?? { causal: true, window: 0 };

/** What each token of one document sees, as the graph says. */
function spansOf(graph: Graph): Float64Array {
  const tokens = graph.axes.T!;
  const { causal, window } = attentionOf(graph) as { causal: boolean; window: number };
  const reach = window === 0 ? tokens : window - 1;
  return Float64Array.from({ length: 2 * tokens }, (_, i) => {
    const token = Math.floor(i / 2);
    if (i % 2 === 0) return Math.max(0, token - reach);
    return causal ? token : Math.min(tokens - 1, token + reach);
  });
}

/** Embeddings from −3 to 3 through `write`. */
function activated(write: (g: GraphBuilder, x: Value) => Value): Graph {
  const { g, x } = startGraph();
  g.output('hidden', write(g, g.scale('wide', x, 5)));
  return g.build();
}

/** x·Wᵀ + 0.5 · u·Bᵀ + bias + x, with u = x·Aᵀ: what an adapted linear on a residual stream is. */
function buildProducts(): Graph {
  const { g, x } = startGraph();
  const u = g.linear('u', x, g.param('A', 'f32', 'R D'));
  const call = matmulCall(
    {
      products: [
        { a: x, b: g.param('W', 'f32', 'D D'), transA: false, transB: false, alpha: 1 },
        { a: u, b: g.param('B', 'f32', 'D R'), transA: false, transB: true, alpha: 0.5 },
      ],
      bias: g.param('bias', 'f32', 'D'),
      residual: x,
    },
    'f32',
  );
  g.output('hidden', g.emit('matmul', call.inputs, call.attrs)[0]!);
  return g.build();
}

function buildScaled(): Graph {
  const { g, x } = startGraph();
  g.output('hidden', g.emit('cast', [g.scale('scaled', x, -1.5)])[0]!);
  return g.build();
}

function startGraph() {
  const g = new GraphBuilder('ops', { T: 9, D: 6, R: 2, V: 11 });
  const tableVD = g.param('table', 'f32', 'V D');
  const x = g.embedding('x', tableVD, g.input('ids', 'i32', 'T'));
  g.output('head', g.param('head', 'f32', 'V D'));
  return { g, x };
}

/** Returns log p(token i+1 | ≤ i) in float64. */
function exactScores(graph: Graph, feeds: Record<string, Float64Array>, ids: readonly number[]): number[] {
  const values = { ...feeds, ...interpret(graph, feeds) };
  const [hidden, head] = [values[outputOf(graph, 'hidden').name]!, values[outputOf(graph, 'head').name]!];
  const [width, vocabulary] = [graph.axes.D!, graph.axes.V!];
  return ids.slice(1).map((id, t) => {
    const logits = Array.from({ length: vocabulary }, (_, v) => {
      let sum = 0;
      for (let j = 0; j < width; j++) sum += hidden[t * width + j]! * head[v * width + j]!;
      return sum;
    });
    return logits[id]! - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  });
}

async function writeModel(graph: Graph, feeds: Record<string, Float64Array>): Promise<string> {
  const onnx = lowerToOnnx(graph, { float: 'f32' });
  const pieces = encodeOnnx(onnx, 'test', () => null);
  const file = path.join(folder, `${graphs.findIndex(([, other]) => other === graph)}.onnx`);
  const bytes = pieces.map((piece) => (piece instanceof Uint8Array ? piece : encodeValues(piece, feeds)));
  await writeFile(file, Buffer.concat(bytes));
  return file;
}

function encodeValues(
  { source, columns, shape }: OnnxTensor,
  feeds: Record<string, Float64Array>,
): Uint8Array {
  const data = feeds[source]!;
  if (columns === null) return new Uint8Array(Float32Array.from(data).buffer);
  const width = data.length / shape[0]!;
  const part = data.filter((_, i) => i % width >= columns[0] && i % width < columns[1]);
  return new Uint8Array(Float32Array.from(part).buffer);
}
