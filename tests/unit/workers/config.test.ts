import { defineConfig } from '../../../workers/config.js';

test('what an operator registers is registered once, however many parts of a process ask for it', async () => {
  let calls = 0;
  const { register } = defineConfig({
    register() {
      calls += 1;
    },
  });
  await Promise.all([register(), register()]);
  await register();
  expect(calls).toBe(1);
});

test('an unknown key of temporal.config.ts is refused', () => {
  expect(() => defineConfig({ taskQueues: 'temper' } as object)).toThrow(
    /temporal\.config\.ts: .*taskQueues/s,
  );
});
