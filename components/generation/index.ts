/** Text generation on ONNX Runtime, in a process of its own. It knows token ids alone. */
export { GeneratorLost } from '../../shared/errors.js';
export { type GenerateHooks, Generator, type GeneratorOptions } from './generator.js';
export type { Generated, GenerationRequest } from './protocol.js';
export { type Candidates, penalize, Sampler, type SamplingOptions, samplingSchema } from './sampling.js';
