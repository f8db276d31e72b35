import { spawn } from 'node:child_process';
import path from 'node:path';

const engine = path.resolve(import.meta.dirname, '../../../engine/index.js');
const tinyPlans = path.resolve(import.meta.dirname, 'tiny_plans.js');
const worker = path.resolve(import.meta.dirname, 'worker_run.js');

/** Runs a module in a Node process of its own and returns its exit and output. */
async function runNode(body: string, flags: string[] = []) {
  const code = `import { createContext } from ${JSON.stringify(engine)};
    import { tinyPlan } from ${JSON.stringify(tinyPlans)};
    const plan = (n) => tinyPlan(['a: f32[262144]@arena+0'], Array(n).fill(['fill', [], ['a'], { value: 1 }]),
      { arenaBytes: 1 << 20 });
    ${body}`;
  const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', code]);
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const [exit, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on('close', (...end) => resolve(end)),
  );
  return { exit, signal, output: output.trim() };
}
const cleanExit = (output: string) => ({ exit: 0, signal: null, output });

test('a process with an idle context exits by itself', async () => {
  expect(await runNode(`createContext({ threads: 2 }); console.log('made')`)).toEqual(cleanExit('made'));
});

test('a process does not exit before the run that it awaits is done', async () => {
  const body = `createContext({ threads: 2 }).load(plan(200)).run('go').then(() => console.log('done'))`;
  expect(await runNode(body)).toEqual(cleanExit('done'));
});

test('process.exit in the middle of a run exits cleanly', async () => {
  const body = `const c = createContext({ threads: 2 }); c.load(plan(100000)).run('go');
    setInterval(() => {
      if (c.progress().records > 0) { console.log('running'); process.exit(0); }
    }, 1)`;
  expect(await runNode(body)).toEqual(cleanExit('running'));
});

test('contexts that are no longer referenced are collected', async () => {
  const body = `for (let i = 0; i < 20; i++) await createContext({ threads: 2 }).load(plan(1)).run('go');
    gc(); await new Promise((resolve) => setTimeout(resolve, 20)); gc();
    const { readdirSync } = await import('node:fs');
    await new Promise((resolve) => setTimeout(resolve, 50));
    console.log(readdirSync('/proc/self/task').length < 25)`;
  expect(await runNode(body, ['--expose-gc'])).toEqual(cleanExit('true'));
});

test('worker threads have their own engines, and may be terminated in the middle of a run', async () => {
  const body = `const { Worker } = await import('node:worker_threads');
    const { once } = await import('node:events');
    const workers = [1, 2].map(() => new Worker(${JSON.stringify(worker)}, { execArgv: [] }));
    console.log(...(await Promise.all(workers.map((worker) => once(worker, 'message')))).flat());
    await Promise.all(workers.map((worker) => worker.terminate()));
    console.log('terminated')`;
  expect(await runNode(body)).toEqual(cleanExit('ran ran\nterminated'));
});
