/** A commit as a Hugging Face folder that transformers, peft and vLLM load unchanged. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import {
  type Checkpoint,
  openCheckpoint,
  readCheckpointEntry,
} from '../../../components/checkpoint/index.js';
import { locateWeights, type Model, openModel, type Weights } from '../../../components/models/index.js';
import { adapterConfig, adapterTensorKey, type PeftOptions } from '../../../components/peft/index.js';
import { type PublishedFile, publishModel } from '../../../components/publication/index.js';
import type { CheckpointEntry } from '../../../contracts/index.js';
import type { LinearModule } from '../../../graph/index.js';
import { digestOf } from '../../../shared/digest.js';
import type { SafetensorsSource } from '../../../shared/safetensors/safetensors.js';
import type { Storage } from '../../../shared/storage/index.js';
import { adaptedModules } from '../adapter.js';
import type { OpenRun } from '../kind.js';
import { mergedSources, trainedSources } from './full_weights.js';

export type ModelForm = 'adapter' | 'merged' | 'full';

/** Writes one commit of a run as a model folder, in whichever form is asked for. */
export class Publisher {
  readonly #run: OpenRun;
  readonly #folder: string;
  readonly #model: Model;
  readonly #weights: Weights;
  readonly #checkpoint: Checkpoint;

  private constructor(run: OpenRun, folder: string, model: Model, weights: Weights, checkpoint: Checkpoint) {
    this.#run = run;
    this.#folder = folder;
    this.#model = model;
    this.#weights = weights;
    this.#checkpoint = checkpoint;
  }

  static async open(run: OpenRun, modelFolder: string, commit: number): Promise<Publisher> {
    const model = await openModel(modelFolder, run.recipe.model.config_overrides);
    const weights = await locateWeights(modelFolder, model);
    const entry = await readCheckpointEntry(run.storage, commit);
    return new Publisher(run, modelFolder, model, weights, await openCheckpoint(run.storage, entry));
  }

  get entry(): CheckpointEntry {
    return this.#checkpoint.entry;
  }

  /** @returns URI of the published folder */
  async publish(
    target: Storage,
    name: string,
    form: ModelForm,
    card: string,
    progress: (bytes: number) => void,
  ): Promise<string> {
    const { recipe } = this.#run;
    const source = digestOf({ form, commit: this.#checkpoint.entry.id, recipe: this.#run.run.recipeDigest });
    const common = [{ name: 'README.md', content: card }, ...(await this.#tokenizerFiles())];
    if (form === 'adapter') {
      const adapted = adaptedModules(recipe.peft!, this.#model);
      const config = this.#adapterConfig(recipe.peft!, adapted);
      const tensors = trainedSources(this.#checkpoint).map((tensor) => ({
        ...tensor,
        name: adapterTensorKey(tensor.name),
      }));
      return this.#write(
        target,
        name,
        source,
        [...common, config],
        { stem: 'adapter_model', tensors },
        progress,
      );
    }
    const tensors =
      form === 'full'
        ? trainedSources(this.#checkpoint, this.#weights)
        : await mergedSources(
            this.#checkpoint,
            this.#weights,
            adaptedModules(recipe.peft!, this.#model),
            recipe.peft!,
          );
    const files = [...common, ...(await this.#configFiles())];
    return this.#write(target, name, source, files, { stem: 'model', tensors }, progress);
  }

  async #write(
    storage: Storage,
    name: string,
    source: string,
    files: PublishedFile[],
    weights: { stem: 'model' | 'adapter_model'; tensors: SafetensorsSource[] },
    progress: (bytes: number) => void,
  ): Promise<string> {
    const marker = weights.stem === 'model' ? 'config.json' : 'adapter_config.json';
    const published = await publishModel({ storage, name, source, marker, files, weights, progress });
    return published.uri;
  }

  #adapterConfig(options: PeftOptions, adapted: readonly LinearModule[]): PublishedFile {
    const config = adapterConfig({
      options,
      modules: adapted.map(({ module }) => module),
      linears: this.#model.linearModules.map(({ module }) => module),
      baseModel: this.#baseModel(),
    });
    return { name: 'adapter_config.json', content: `${JSON.stringify(config, null, 2)}\n` };
  }

  /**
   * Returns the base model that peft loads: the hub's id as the recipe has it, otherwise the folder that the weights
   * lie in.
   */
  #baseModel(): string {
    const { name } = this.#run.recipe.model;
    return name.endsWith('.gguf') || existsSync(name) ? this.#folder : name;
  }

  async #tokenizerFiles(): Promise<PublishedFile[]> {
    return this.#copies([
      'tokenizer.json',
      'tokenizer_config.json',
      'special_tokens_map.json',
      'chat_template.jinja',
      'added_tokens.json',
      'vocab.json',
      'merges.txt',
      'tokenizer.model',
    ]);
  }

  async #configFiles(): Promise<PublishedFile[]> {
    const config = JSON.parse(await readFile(path.join(this.#folder, 'config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    const effective = { ...config, ...this.#run.recipe.model.config_overrides };
    const text = `${JSON.stringify(effective, null, 2)}\n`;
    return [{ name: 'config.json', content: text }, ...(await this.#copies(['generation_config.json']))];
  }

  async #copies(names: readonly string[]): Promise<PublishedFile[]> {
    const present = names.filter((name) => existsSync(path.join(this.#folder, name)));
    return Promise.all(
      present.map(async (name) => ({ name, content: await readFile(path.join(this.#folder, name)) })),
    );
  }
}
