import { parsePublishLocation, publishLocationProblem } from '../../../recipes/llm/publish_location.js';

test.each([
  ['hf://owner/name', { kind: 'hub', id: 'owner/name', branch: 'main' }],
  ['hf://owner/name-7b.v2@try/3', { kind: 'hub', id: 'owner/name-7b.v2', branch: 'try/3' }],
  ['s3://bucket/a/b/', { kind: 'storage', uri: 's3://bucket/a/b', parent: 's3://bucket/a', name: 'b' }],
  ['s3://bucket/a', { kind: 'storage', uri: 's3://bucket/a', parent: 's3://bucket', name: 'a' }],
  ['/models/mine/', { kind: 'storage', uri: '/models/mine', parent: '/models', name: 'mine' }],
  ['/mine', { kind: 'storage', uri: '/mine', parent: '/', name: 'mine' }],
  ['file:///models/mine', { kind: 'storage', uri: '/models/mine', parent: '/models', name: 'mine' }],
])('%s is parsed as a location to publish to', (text, location) => {
  expect(publishLocationProblem(text)).toBeNull();
  expect(parsePublishLocation(text)).toEqual(location);
});

test.each([
  ['hf://name', 'hf://owner/name'],
  ['hf://owner/name/file', 'hf://owner/name'],
  ['hf://owner/na me', 'hf://owner/name'],
  ['hf://../name', 'hf://owner/name'],
  ['hf://owner/name@', 'hf://owner/name'],
  ['s3://bucket', 's3://bucket/prefix'],
  ['s3://bucket/', 's3://bucket/prefix'],
  ['gs://bucket/a', "'gs://' is not known"],
  ['', 'a folder'],
  ['/', 'a folder'],
])('%p is not a valid location to publish to', (text, message) => {
  expect(publishLocationProblem(text)).toContain(message);
});
