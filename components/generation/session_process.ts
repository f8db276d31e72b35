/**
 * The process that holds ONNX Runtime, whose run() keeps the event loop and whose crash would take any other process
 * with it. Logits never leave it.
 */
import { emit as post, serve } from '../../shared/processes/forked_process.js';
import { Batch } from './batch.js';
import { OnnxDecoder } from './decoder.js';
import { documentLogprobs } from './logprobs.js';
import { PromptMemory } from './prompt_memory.js';
import { type Command, commandSchema, type NewToken, type SessionEvent } from './protocol.js';

let decoder: OnnxDecoder | null = null;
const memory = new PromptMemory();
let cancelled = false;
let answered: ((stop: readonly number[]) => void) | null = null;

const emit = (event: SessionEvent): void => post(event);

async function obey(command: Command): Promise<void> {
  switch (command.type) {
    case 'open':
      decoder = await OnnxDecoder.open(command.onnx, command.threads);
      emit({ type: 'ready', vocabularySize: decoder.vocabularySize });
      return;
    case 'generate':
      emit({ type: 'results', results: await generate(command) });
      return;
    case 'score':
      emit({ type: 'scores', logprobs: await score(command.documents) });
      return;
    case 'go':
      answered?.(command.stop);
      return;
    case 'cancel':
      cancelled = true;
      answered?.([]);
  }
}

function opened(): OnnxDecoder {
  if (decoder === null) throw new TypeError("a command arrived before 'open' was complete");
  return decoder;
}

async function score(documents: readonly (readonly number[])[]): Promise<Float64Array<ArrayBuffer>[]> {
  const logprobs: Float64Array<ArrayBuffer>[] = [];
  for (const ids of documents) logprobs.push(await documentLogprobs(opened(), ids));
  return logprobs;
}

function generate(command: Extract<Command, { type: 'generate' }>) {
  cancelled = false;
  const onTokens = async (tokens: readonly NewToken[]): Promise<readonly number[]> => {
    if (!command.streaming) return [];
    return new Promise((resolve) => {
      answered = resolve;
      emit({ type: 'tokens', tokens: [...tokens] });
    });
  };
  const hooks = { onTokens, isCancelled: () => cancelled };
  return new Batch(opened(), command.requests, command, hooks, command.reusePrompts ? memory : null).run();
}

serve((message) => obey(commandSchema.parse(message)));
