import { StorageError } from '../../../shared/errors.js';
import { canonicalUri, isWithin, resolveRoots } from '../../../shared/storage/index.js';

test('without roots everything is allowed, and the cache is below HOME', () => {
  expect(resolveRoots(null, { HOME: '/home/ada' })).toEqual({
    roots: null,
    cache: '/home/ada/.cache/temper',
  });
});

test('TEMPER_ROOTS replaces the configured roots, and may mix paths and URIs', () => {
  const env = {
    HOME: '/home/ada',
    TEMPER_ROOTS: '/data:file:///runs/:s3://bucket/team//a',
    TEMPER_CACHE: 's3://c/x/',
  };
  expect(resolveRoots(['/configured'], env)).toEqual({
    roots: ['/data', '/runs', 's3://bucket/team/a', 's3://c/x'],
    cache: 's3://c/x',
  });
});

test('the cache is always among the roots', () => {
  expect(resolveRoots(['/data'], { HOME: '/h' }).roots).toEqual(['/data', '/h/.cache/temper']);
});

test('relative locations start at the base, which may be on S3', () => {
  expect(canonicalUri('runs/a', '/data')).toBe('/data/runs/a');
  expect(canonicalUri('../a', '/data/b')).toBe('/data/a');
  expect(canonicalUri('runs/../a', 's3://bucket/x')).toBe('s3://bucket/x/a');
});

test.each(['s3://bucket/../other', 's3://', 'gs://bucket/x', ''])(
  '%j is not a valid storage location',
  (uri) => {
    expect(() => canonicalUri(uri, '/work')).toThrow(StorageError);
  },
);

test('a root contains itself and everything below it, not paths that only share a prefix', () => {
  expect(isWithin('s3://b/run', ['s3://b/run'])).toBe(true);
  expect(isWithin('s3://b/run/x', ['s3://b/run'])).toBe(true);
  expect(isWithin('s3://b/runs', ['s3://b/run'])).toBe(false);
  expect(isWithin('/any', ['/'])).toBe(true);
});
