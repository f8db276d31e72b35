/** The result of one of doctor's checks. */
export interface Finding {
  /** The thing that was examined, e.g. `temporal server`. */
  name: string;
  /** `fail`: something that runs need is missing. `warn`: something is worse than it could be. */
  status: 'ok' | 'warn' | 'fail';
  detail: string;
  /** The remedy; null when nothing needs to be done. */
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
