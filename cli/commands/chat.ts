import { command } from '../command/define.js';
import { type GenerationFlags, generationFlags, optionalText } from '../command/flags.js';
import { ProgressDisplay, stepHooks } from '../terminal/index.js';

interface Flags extends GenerationFlags {
  system?: string;
}

export const chat = command<Flags>({
  docs: {
    brief: 'Chat with a model',
    fullDescription:
      'Chats with a model, using its chat template. Ctrl-C stops an answer, Ctrl-D leaves, /reset clears the conversation.\n' +
      'Without a terminal, each line of the input is answered.',
  },
  flags: { ...generationFlags, system: optionalText('system prompt') },
  async run(flags) {
    const { openTextGenerator } = await import('../../recipes/index.js');
    const { UsageError } = await import('../../shared/errors.js');
    const { Conversation } = await import('../terminal/conversation.js');
    const { generationOptions, modelOptions } = await import('../command/generation.js');
    const display = new ProgressDisplay(process.stderr);
    const options = { ...modelOptions(flags), batchSize: 1, reusePrompts: true };
    const generator = await openTextGenerator(options, stepHooks(display)).finally(() => display.clear());
    try {
      if (!generator.hasChatTemplate)
        throw new UsageError(
          `--model ${flags.model}: has no chat template; 'temper generate --raw' continues text without one`,
        );
      await new Conversation(generator, generationOptions(flags), flags.system ?? null).hold();
    } finally {
      await generator.close();
    }
  },
});
