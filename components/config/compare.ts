/** Which keys differ between two recipes: what a resume may change, and what it may not. */
export function changedKeys(before: unknown, after: unknown, key = ''): string[] {
  if (Object.is(before, after)) return [];
  const isMap = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (Array.isArray(before) && Array.isArray(after)) {
    const same =
      before.length === after.length &&
      before.every((item, index) => changedKeys(item, after[index]).length === 0);
    return same ? [] : [key];
  }
  if (!isMap(before) || !isMap(after)) return [key];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names.flatMap((name) =>
    changedKeys(before[name], after[name], key === '' ? name : `${key}.${name}`),
  );
}
