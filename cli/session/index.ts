/** Access to Temporal for commands, which import it only when they run. */
export { runFailure } from './failure.js';
export { follow } from './follow.js';
export { InPlaceWorker } from './in_place_worker.js';
export { isServed } from './pollers.js';
export { openSession, type Session } from './server.js';
export { orderFrom, refuseCompleted, submit, submitOrServe } from './submit.js';
