/** The TypeScript face of the native engine. */
export {
  type ContextOptions,
  createContext,
  EngineContext,
  EnginePlan,
  engineCapabilities,
  engineOps,
  type PlanTarget,
  planNeeds,
  planTarget,
  type RunOptions,
  type TensorInfo,
} from './context.js';
export { cpuDevice, defaultDevice, parseDevice } from './device.js';
export { DeviceLost, EngineAborted } from './errors.js';
export { crc32c, type DequantizeOptions, dequantize, firstNonFinite, ggmlTypes } from './files.js';
export { defaultThreads, memoryLimit } from './host.js';
export type { NativeCapabilities, NativeProgress, NativeRecordTime } from './native.js';
export type { Snapshot } from './snapshot.js';
export type { TensorData } from './typed_arrays.js';
