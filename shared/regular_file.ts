/** Small files that are read whole: never a device or a pipe, and never more than they may have. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** Says what makes a file unfit to be read; the caller knows which file it is, and what to do. */
export class UnfitFile extends Error {}

/**
 * Returns the bytes of a regular file.
 *
 * @param maxBytes a longer file is not read
 * @throws UnfitFile, or the system's error with its errno
 */
export async function readRegularFile(file: string, maxBytes: number): Promise<Buffer> {
  // A pipe that nobody writes to would block here for ever.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = await handle.stat();
    if (info.isDirectory()) throw new UnfitFile('it is a folder');
    if (!info.isFile()) throw new UnfitFile('it is a device or a pipe, not a file');
    if (info.size > maxBytes)
      throw new UnfitFile(`it has ${info.size} bytes, and at most ${maxBytes} are allowed`);
    const bytes = Buffer.alloc(info.size);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
