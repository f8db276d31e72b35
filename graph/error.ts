import { TemperError } from '../shared/errors.js';
import type { MemoryReport } from './report.js';

/** A graph that is not well formed: names the op or value, what does not fit, and what it should be. */
export class GraphError extends TemperError {
  constructor(message: string, options?: ErrorOptions) {
    super('GraphError', message, options);
  }
}

/** No choice of what to recompute makes the arena fit its budget. */
export class ArenaTooLarge extends GraphError {
  constructor(
    graph: string,
    /** With every layer recomputed. */
    readonly memory: MemoryReport,
    /** Bytes. */
    readonly arenaBudget: number,
  ) {
    super(
      `graph ${graph}: with every layer recomputed the arena takes ${memory.arena} bytes, and may take ` +
        `${Math.floor(arenaBudget)}; use a smaller micro-batch or packed sequence`,
    );
  }
}
