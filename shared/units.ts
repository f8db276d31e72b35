/** Returns bytes as decimal gigabytes, e.g. `1.50 GB`. */
export const formatGigabytes = (bytes: number, decimals = 2): string =>
  `${(bytes / 1e9).toFixed(decimals)} GB`;
