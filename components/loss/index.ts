export { type Loss, lossSchema } from './schema.js';
