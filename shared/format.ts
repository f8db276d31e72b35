/** Formats numbers, long texts and causes for messages. */

/** Returns bytes as decimal gigabytes, e.g. `1.50 GB`. */
export const formatGigabytes = (bytes: number, decimals = 2): string =>
  `${(bytes / 1e9).toFixed(decimals)} GB`;

/** Returns a count with its noun, e.g. `1 field`, `2 fields`. */
export const formatCount = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Returns a text, or its first `length` characters and an ellipsis. */
export const truncate = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length)}…` : text;

/** Returns the message of whatever was thrown. */
export const errorMessage = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

/** Returns the first line of the message of whatever was thrown. */
export const firstLine = (thrown: unknown): string => errorMessage(thrown).split('\n')[0]!;
