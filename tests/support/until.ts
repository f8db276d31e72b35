/** Milliseconds after which a wait fails: less than the timeout of any test that waits. */
const limit = 90_000;

/**
 * Waits until something holds.
 * @param what named in the error, e.g. `the rank to end`
 * @throws Error after a minute and a half, so that no loop outlasts its test
 */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + limit;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${limit / 1000} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
