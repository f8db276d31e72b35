/** Adapters as peft lays them out, for tests that read one. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type AdapterConfigInput, adapterConfig, adapterTensorKey } from '../../components/peft/index.js';
import { type SafetensorsSource, writeSafetensors } from '../../shared/safetensors/safetensors.js';

/** Writes an adapter folder, which must exist. `sources` are named by parameter and streamed. */
export async function writeAdapter(
  folder: string,
  input: AdapterConfigInput,
  sources: readonly SafetensorsSource[],
): Promise<void> {
  const renamed = sources.map((source) => ({ ...source, name: adapterTensorKey(source.name) }));
  await writeSafetensors(path.join(folder, 'adapter_model.safetensors'), renamed);
  const config = JSON.stringify(adapterConfig(input), null, 2);
  await writeFile(path.join(folder, 'adapter_config.json'), `${config}\n`);
}
