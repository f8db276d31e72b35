/** Meanings of S3's errors, with remedies. */
import { types } from 'node:util';
import { ServiceUnavailable, StorageError, TemperError } from '../errors.js';

interface ServiceFault {
  name: string;
  message: string;
  code?: string;
  $metadata?: { httpStatusCode?: number; attempts?: number };
}

function fault(error: unknown): ServiceFault | null {
  return types.isNativeError(error) ? (error as ServiceFault) : null;
}

const status = (error: unknown): number | undefined => fault(error)?.$metadata?.httpStatusCode;

/** Returns whether there is no such object. A missing bucket is another matter, which HEAD alone does not show. */
export function isAbsent(error: unknown): boolean {
  return status(error) === 404 && fault(error)?.name !== 'NoSuchBucket';
}

/** Returns whether a conditional write found its key taken. */
export function isTaken(error: unknown): boolean {
  return status(error) === 412;
}

/** Returns whether the client sent the request more than once, so that an earlier answer may have been lost. */
export function wasRetried(error: unknown): boolean {
  return (fault(error)?.$metadata?.attempts ?? 1) > 1;
}

/** Returns whether the server does not know the request, or the credentials do not allow it. */
export function isRefused(error: unknown): boolean {
  return [401, 403, 405, 501].includes(status(error) ?? 0);
}

/** Returns whether two conditional writes of one key met. */
export function isConflict(error: unknown): boolean {
  return status(error) === 409;
}

const networkCodes = [
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'EPIPE',
];

/** Returns the code of a network error, which the client may have wrapped. */
function networkCode(serviceFault: ServiceFault): string | undefined {
  return networkCodes.find((code) => serviceFault.code === code || serviceFault.message.includes(code));
}

/** Returns whether the connection broke while an object was read. */
export function isInterrupted(error: unknown): boolean {
  const serviceFault = fault(error);
  return (
    serviceFault !== null && (networkCode(serviceFault) !== undefined || serviceFault.message === 'aborted')
  );
}

const remedies: Record<string, string> = {
  AccessDenied:
    'access denied: the credentials lack a permission (s3:GetObject, PutObject, DeleteObject, ListBucket)',
  NoSuchBucket: 'there is no such bucket: create it, or correct the URI',
  NoSuchKey: 'there is no such object',
  NotFound: 'there is no such object',
  InvalidAccessKeyId: 'the access key is unknown there: check AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL',
  SignatureDoesNotMatch: 'the secret key is wrong: check AWS_SECRET_ACCESS_KEY',
  ExpiredToken: 'the session token has expired: renew the credentials',
  CredentialsProviderError: 'no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE',
  PermanentRedirect: 'the bucket is in another region: set AWS_REGION',
  AuthorizationHeaderMalformed: 'the bucket is in another region: set AWS_REGION',
  NotImplemented: 'the server does not implement the request; conditional writes (If-None-Match) are needed',
  InvalidRange: 'it is shorter than the range asked for',
  EntityTooLarge: 'it is too large for the server',
};

/** An answer to HEAD has no body that could say which of the two it is. */
const withoutReason =
  'access denied: wrong credentials (check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE), ' +
  'or credentials without a permission (s3:GetObject, PutObject, DeleteObject, ListBucket)';

/** Returns a TemperError that names the location and the remedy; ServiceUnavailable where trying later may help. */
export function explainS3(location: string, what: string, error: unknown): unknown {
  const serviceFault = fault(error);
  if (serviceFault === null || error instanceof TemperError) return error;
  if (serviceFault.message.includes('Region is missing')) {
    return new StorageError(`${location}: ${what}: no region: set AWS_REGION`, { cause: error });
  }
  const name = serviceFault.name === 'Error' ? (serviceFault.code ?? serviceFault.name) : serviceFault.name;
  const remedy = remedies[name] ?? remedies[serviceFault.code ?? ''];
  if (remedy !== undefined)
    return new StorageError(`${location}: ${what}: ${remedy} (${name})`, { cause: error });
  const refused = status(error) === 401 || status(error) === 403;
  if (refused) return new StorageError(`${location}: ${what}: ${withoutReason}`, { cause: error });
  const unreachable =
    networkCode(serviceFault) !== undefined ||
    serviceFault.name === 'TimeoutError' ||
    (status(error) ?? 0) >= 500;
  if (unreachable) {
    return new ServiceUnavailable(
      `${location}: ${what}: the object store cannot be reached (${serviceFault.message}); check AWS_ENDPOINT_URL and the network`,
      { cause: error },
    );
  }
  // Not the service's error and not the network's: the caller's own, from the stream that it passed in.
  if (serviceFault.$metadata === undefined) return error;
  return new StorageError(`${location}: ${what}: ${serviceFault.message} (${name})`, { cause: error });
}
