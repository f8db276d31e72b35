/** A worker thread with an engine: sends a message when its first run is done, then begins a long one. */
import { parentPort } from 'node:worker_threads';
import { createContext } from '../../../engine/index.js';
import { tinyPlan } from './tiny_plans.js';

const plan = createContext({ threads: 2 }).load(
  tinyPlan(
    ['a: f32[262144]@arena+0'],
    Array.from({ length: 5000 }, () => ['fill', [], ['a'], { value: 1 }]),
    { arenaBytes: 1 << 20, programs: { short: [0, 1], long: [0, 5000] } },
  ),
);
await plan.run('short');
parentPort!.postMessage('ran');
await plan.run('long');
