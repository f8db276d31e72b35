/** Storage over folders and S3, and where a worker may use it. */
export { describeExcess, readDocument } from './document.js';
export { probePrefix, requireExclusiveCreation } from './exclusive_creation.js';
export { type OpenStorageOptions, openStorage } from './open.js';
export { readableFolder, readablePath } from './readable.js';
export { canonicalUri, isS3, isWithin, resolveRoots, type StorageRoots } from './roots.js';
export type { Storage, StoredObject, UnfinishedWrite } from './storage.js';
