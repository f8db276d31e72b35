/** Models as Hugging Face folders: written, read back and seen all at once, in folders, on S3 and on the hub. */
export { hubUploadToken, uploadToHub } from './hub.js';
export {
  isReplaceable,
  manifestName,
  type PublicationManifest,
  parseManifest,
  readPublication,
} from './manifest.js';
export { type Publication, type PublishedFile, type PublishOptions, publishModel } from './publish.js';
