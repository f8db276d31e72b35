import { readFile } from 'node:fs/promises';
import { toFloat32 } from '../../shared/safetensors/floats.js';
import { readSafetensorsHeader } from '../../shared/safetensors/safetensors.js';

/** Returns every tensor of a safetensors file as float32, by name. */
export async function readTensors(file: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await readSafetensorsHeader(file);
  const bytes = await readFile(file);
  return new Map(
    [...tensors].map(([name, { dtype, byteOffset, byteLength }]) => [
      name,
      toFloat32(bytes.subarray(byteOffset, byteOffset + byteLength), dtype),
    ]),
  );
}
