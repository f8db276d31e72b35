import type { Message, Tokenizer } from '../../../../components/datasets/llm/index.js';

const bos = '<s>';
const eos = '<|im_end|>';
const start = '<|im_start|>';
const special = [bos, eos, start];

/** Returns a tokenizer of UTF-8 bytes and three special tokens, whose offsets a reader can check by hand. */
export function byteTokenizer({ chatTemplate = true }: { chatTemplate?: boolean } = {}): Tokenizer {
  return {
    vocabularySize: 256 + special.length,
    bosId: 256,
    eosId: 257,
    specialTokens: new Set(special),
    hasChatTemplate: chatTemplate,
    encode(text, { addSpecial, offsets: wantsOffsets }) {
      if (wantsOffsets === false && !text.includes('<')) {
        return { ids: [...(addSpecial ? [256] : []), ...Buffer.from(text)], offsets: [] };
      }
      const ids: number[] = addSpecial ? [256] : [];
      const offsets: [number, number][] = addSpecial ? [[0, 0]] : [];
      for (let offset = 0; offset < text.length; ) {
        const specialId = special.findIndex((token) => text.startsWith(token, offset));
        const piece = specialId >= 0 ? special[specialId]! : String.fromCodePoint(text.codePointAt(offset)!);
        const tokens = specialId >= 0 ? [256 + specialId] : [...Buffer.from(piece)];
        for (const id of tokens) {
          ids.push(id);
          offsets.push([offset, offset + piece.length]);
        }
        offset += piece.length;
      }
      return { ids, offsets };
    },
    decode(ids) {
      const parts = ids.map((id) => (id < 256 ? Buffer.from([id]) : Buffer.from(special[id - 256]!)));
      return Buffer.concat(parts).toString('utf8');
    },
    applyChatTemplate(messages: readonly Message[], { addGenerationPrompt }) {
      const turns = messages.map(({ role, content }) => {
        if (role === 'forbidden') throw new Error('no such role');
        return `${start}${role}\n${String(content)}${eos}\n`;
      });
      return turns.join('') + (addGenerationPrompt ? `${start}assistant\n` : '');
    },
  };
}
