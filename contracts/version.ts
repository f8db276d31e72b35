import { z } from 'zod';

/** Returns the schema of a format's version, which each document carries; a reader refuses any other. */
export const version = <const N extends number>(n: N) => z.literal(n);

/** sha256 in lower-case hexadecimal. */
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, 'expected a sha256 in hexadecimal');

/** ISO 8601, UTC. */
export const timestampSchema = z.iso.datetime();

/** Plain path, `file://` or `s3://bucket/prefix`. */
export const uriSchema = z.string().min(1);
