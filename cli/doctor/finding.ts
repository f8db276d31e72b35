/** One thing that doctor looked at. */
export interface Finding {
  /** What was looked at, e.g. `temporal server`. */
  name: string;
  /** `fail`: something that runs need is missing. `warn`: something is worse than it could be. */
  status: 'ok' | 'warn' | 'fail';
  detail: string;
  /** What to do about it; null where there is nothing to do. */
  remedy: string | null;
}

export const ok = (name: string, detail: string): Finding => ({ name, status: 'ok', detail, remedy: null });

export const warn = (name: string, detail: string, remedy: string): Finding => ({
  name,
  status: 'warn',
  detail,
  remedy,
});

export const fail = (name: string, detail: string, remedy: string): Finding => ({
  name,
  status: 'fail',
  detail,
  remedy,
});
