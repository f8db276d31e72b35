/** Loads a plan of `fill` on the fake device and prints the error. */
import { createContext } from '../../../engine/index.js';
import type { TemperError } from '../../../shared/errors.js';
import { tinyPlan } from './tiny_plans.js';

const engine = createContext({ device: 'fake:0' });
try {
  engine.load(tinyPlan(['a: f32[4]@arena+0'], [['fill', [], ['a'], { value: 1 }]], { arenaBytes: 64 }));
  process.stdout.write('{}');
} catch (error) {
  const { code, message } = error as TemperError;
  process.stdout.write(JSON.stringify({ code, message }));
} finally {
  engine.close();
}
