/** A child process that misbehaves on request, in the shell that all child processes have. */
import { Conversation, emit, serve } from '../../../shared/processes/forked_process.js';

export type HostileCommand = {
  does: 'loop' | 'allocate' | 'allocateInChild' | 'abort' | 'throw' | 'reject' | 'environment';
};

/** Filled and kept, so that the memory is really in use. */
const buffers: Buffer[] = [];

serve(async (message) => {
  switch ((message as HostileCommand).does) {
    case 'loop':
      for (;;);
    case 'allocate':
      for (;;) {
        buffers.push(Buffer.alloc(2 ** 24, 1));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    case 'allocateInChild':
      await new Conversation(
        new URL(import.meta.url),
        (message) => message as object,
        (how) => new Error(how),
      ).request({ does: 'allocate' }, () => true);
      break;
    case 'abort':
      process.abort();
      break;
    case 'throw':
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), {
        code: 'ENOSPC',
        errno: -28,
      });
    case 'reject':
      void Promise.reject(new RangeError('nobody waits for this'));
      return new Promise(() => {});
    case 'environment':
      emit({ environment: { ...process.env } });
  }
});
