/** Damage drawn from a seed: bytes and JSON values that no reader expects. */

import type { Random } from '../../support/random.js';

const hostileBytes = [
  Buffer.from('ffffffffffffffff', 'hex'),
  Buffer.from('ffffff7f', 'hex'),
  Buffer.from('0000000000000080', 'hex'),
  Buffer.alloc(16),
  Buffer.from('"'),
  Buffer.from('\n'),
  Buffer.from('{[{[{['),
  Buffer.from(': '),
  Buffer.from('../../../etc/passwd'),
  Buffer.from('${a}${env:HOME}&a *a'),
];

/** Returns a copy of the bytes that is changed at one to four positions, cut, or repeated in part. */
export function damageBytes(sound: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(sound);
  for (let count = 1 + random.below(4); count > 0 && bytes.length > 0; count -= 1) {
    const position = random.below(bytes.length);
    const piece = hostileBytes[random.below(hostileBytes.length)]!;
    switch (random.below(7)) {
      case 0:
        bytes[position]! ^= 1 << random.below(8);
        break;
      case 1:
        bytes[position] = random.below(256);
        break;
      case 2:
        piece.copy(bytes, position);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, position), piece, bytes.subarray(position)]);
        break;
      case 4:
        bytes = bytes.subarray(0, position);
        break;
      case 5:
        bytes = Buffer.concat([
          bytes.subarray(0, position),
          bytes.subarray(Math.min(bytes.length, position + 1 + random.below(64))),
        ]);
        break;
      default:
        bytes = Buffer.concat([bytes, bytes.subarray(position, position + random.below(4096))]);
    }
  }
  return bytes;
}

const hostileValues: unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e300,
  '',
  'a',
  '\u0000',
  '(a+)+$',
  [],
  {},
  [[]],
  ['a', 1],
  { a: 1 },
  { type: 'Sequence' },
  { type: 'x' },
];

/** Returns a copy of a JSON value in which one to three parts are replaced or removed. */
export function damageJson(sound: unknown, random: Random): unknown {
  const copy = structuredClone(sound);
  for (let count = 1 + random.below(3); count > 0; count -= 1) {
    let part = copy as Record<string, unknown>;
    for (;;) {
      const keys = Object.keys(part);
      if (keys.length === 0) break;
      const key = keys[random.below(keys.length)]!;
      const inner = part[key];
      if (typeof inner === 'object' && inner !== null && random.below(3) > 0) {
        part = inner as Record<string, unknown>;
        continue;
      }
      if (random.below(6) === 0) delete part[key];
      else part[key] = structuredClone(hostileValues[random.below(hostileValues.length)]);
      break;
    }
  }
  return copy;
}
