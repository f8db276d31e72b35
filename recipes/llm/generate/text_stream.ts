/** The text of an answer while its tokens come: whole characters only, and nothing from a stop string on. */
import type { ModelTokenizer } from '../../../components/tokenizer/index.js';

export class TextStream {
  readonly #ids: number[] = [];
  /** Tokens from `context` to `read` are decoded once more with what follows, which may change how that reads. */
  #context = 0;
  #read = 0;
  /** Everything decoded so far, and how much of it was given out. */
  #text = '';
  #shown = 0;

  readonly #tokenizer: Pick<ModelTokenizer, 'decode'>;
  readonly #stop: readonly string[];

  /** @param stop strings that end the answer; they are not part of it */
  constructor(tokenizer: Pick<ModelTokenizer, 'decode'>, stop: readonly string[]) {
    this.#tokenizer = tokenizer;
    this.#stop = stop;
  }

  /**
   * Takes a token. Returns the text that is certain now: held back is a character whose last bytes are still to come, and
   * what may be the beginning of a stop string.
   */
  push(id: number): { text: string; stopped: boolean } {
    this.#ids.push(id);
    const decoded = this.#decode(this.#context, this.#read);
    const text = this.#decode(this.#context, this.#ids.length);
    if (text.length <= decoded.length || text.endsWith('\ufffd')) return { text: '', stopped: false };
    [this.#context, this.#read] = [this.#read, this.#ids.length];
    return this.#take(text.slice(decoded.length));
  }

  /** Returns the text that was held back, when nothing follows. */
  end(): string {
    const decoded = this.#decode(this.#context, this.#read);
    const { text, stopped } = this.#take(this.#decode(this.#context, this.#ids.length).slice(decoded.length));
    if (stopped) return text;
    const rest = this.#text.slice(this.#shown);
    this.#shown = this.#text.length;
    return text + rest;
  }

  #take(added: string): { text: string; stopped: boolean } {
    const searched = this.#text.length;
    this.#text += added;
    const starts = this.#stop
      .map((stop) => this.#text.indexOf(stop, Math.max(0, searched - stop.length + 1)))
      .filter((start) => start >= 0);
    const stopped = starts.length > 0;
    const end = stopped ? Math.min(...starts) : this.#text.length - this.#possibleStop();
    const text = this.#text.slice(this.#shown, end);
    this.#shown = Math.max(this.#shown, end);
    return { text, stopped };
  }

  /** Returns the length of the longest end of the text that a stop string begins with. */
  #possibleStop(): number {
    let longest = 0;
    for (const stop of this.#stop) {
      for (let length = Math.min(stop.length - 1, this.#text.length); length > longest; length--) {
        if (this.#text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }

  #decode(from: number, to: number): string {
    return this.#tokenizer.decode(this.#ids.slice(from, to), { skipSpecial: true });
  }
}
