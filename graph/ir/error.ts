import { TemperError } from '../../shared/errors.js';

/** A graph that is not well formed: names the op or value, what does not fit, and what it should be. */
export class GraphError extends TemperError {
  constructor(message: string, options?: ErrorOptions) {
    super('GraphError', message, options);
  }
}
