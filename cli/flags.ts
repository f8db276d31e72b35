/** The flags of each command, as they reach it. */
export interface RunFlags {
  json: boolean;
  new: boolean;
  takeOver: boolean;
  id?: string;
}

export interface WatchFlags {
  json: boolean;
}

export interface WorkerFlags {
  role: 'all' | 'control' | 'host';
  devices: string;
  pool?: string;
}

export interface ScoreFlags {
  model: string;
  adapter?: string;
  precision: 'fp32' | 'bf16';
  input: string;
  output: string;
}

export interface EvaluateFlags {
  model: string;
  adapter?: string;
  task?: string[];
  tasks?: string;
  precision: 'fp32' | 'bf16';
  json: boolean;
  output?: string;
}

/** How an answer is found. */
export interface AnsweringFlags {
  model: string;
  adapter?: string;
  precision: 'fp32' | 'fp16';
  maxNewTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  repetitionPenalty: number;
  stop?: string[];
  seed: number;
}

export interface GenerateFlags extends AnsweringFlags {
  prompt?: string;
  input?: string;
  output?: string;
  raw: boolean;
  batchSize: number;
}

export interface ChatFlags extends AnsweringFlags {
  system?: string;
}

export interface PlanFlags {
  json: boolean;
  print: boolean;
}

export interface PreviewFlags {
  rows: number;
}

export interface ExportFlags {
  merge: boolean;
  onnx?: 'fp32' | 'fp16';
  step?: number;
  output: string;
}
