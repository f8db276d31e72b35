/** Text generation on ONNX Runtime, in a process of its own. It handles only token ids. */
export { GeneratorLost } from '../../shared/errors.js';
export { type GenerateHooks, Generator, type GeneratorOptions } from './generator.js';
export type { Generated, GenerationRequest } from './protocol.js';
export { type Candidates, penalize, Sampler, type SamplingOptions, samplingSchema } from './sampling.js';
