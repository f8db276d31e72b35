/** Opens the model named on the command line, sends the id of the process that holds it, and generates without end. */
import { Generator, samplingSchema } from '../../../components/generation/index.js';

const onnx = process.argv[2]!;
const generator = await Generator.open({ onnx, eosTokenIds: [], contextLength: 2048, threads: 1 });
process.send!(await generator.pid());
const sampling = samplingSchema.parse({});
for (;;) await generator.generate([{ ids: [1, 2, 3], maxNewTokens: 2000, sampling }]);
