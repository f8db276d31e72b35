/** Publishing to the Hugging Face hub, whose client is loaded only where that is asked for. */
import type { Uploaded, UploadOptions } from './hub/upload.js';

/** Uploads files as one commit. @throws StorageError where the hub refuses, ServiceUnavailable where it does not answer */
export async function uploadToHub(options: UploadOptions): Promise<Uploaded> {
  const { uploadModel } = await import('./hub/upload.js');
  return uploadModel(options);
}

/** Returns the token that an upload would use. @throws StorageError where there is none */
export async function hubUploadToken(
  options: Pick<UploadOptions, 'id' | 'token' | 'endpoint'>,
): Promise<string> {
  const { uploadToken } = await import('./hub/upload.js');
  return uploadToken(options);
}
