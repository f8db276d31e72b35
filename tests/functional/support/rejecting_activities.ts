/** Two activities side by side, of which one leaves a rejected promise behind; prints the outcome of each. */
import type { Context } from '@temporalio/activity';
import {
  attributeRejections,
  handleUnhandledRejections,
} from '../../../workers/temporal/unhandled_rejections.js';

handleUnhandledRejections((text) => process.stderr.write(`${text}\n`));

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs an activity as a worker does, within the interceptor. */
async function run(activity: () => Promise<unknown>): Promise<string> {
  const { inbound } = attributeRejections({} as Context);
  const execution = inbound!.execute!({ args: [], headers: {} }, activity);
  return await execution.then(String, (error) => `${error.type}: ${error.message}`);
}

const outcomes = await Promise.all([
  run(async () => {
    void sleep(20).then(() => Promise.reject(new RangeError('left behind')));
    await sleep(60_000);
  }),
  run(async () => {
    await sleep(200);
    return 'done';
  }),
]);
process.stdout.write(JSON.stringify(outcomes), () => process.exit(0));
