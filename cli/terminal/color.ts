/**
 * Returns whether a stream shows colors: a terminal does, unless NO_COLOR (no-color.org) or TERM=dumb is set;
 * FORCE_COLOR insists.
 */
export function usesColor(
  stream: { isTTY?: boolean },
  environment: NodeJS.ProcessEnv = process.env,
): boolean {
  if (environment.NO_COLOR) return false;
  if (environment.FORCE_COLOR && environment.FORCE_COLOR !== '0') return true;
  return stream.isTTY === true && environment.TERM !== 'dumb';
}
