import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { isReplaceable, type PublishOptions, publishModel } from '../../../components/publication/index.js';
import { CheckpointError } from '../../../shared/errors.js';
import type { SafetensorsSource } from '../../../shared/safetensors/safetensors.js';
import { locateTensors } from '../../../shared/safetensors/weight_index.js';
import type { Storage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { newRun } from './fixture.js';

const root = temporaryFolder();

function tensor(name: string, values: number[]): SafetensorsSource {
  const chunks = function* () {
    for (const value of values) yield new Uint8Array(Float32Array.of(value).buffer);
  };
  return { name, dtype: 'F32', shape: [values.length], chunks };
}

function publishOptions(storage: Storage, change: Partial<PublishOptions> = {}): PublishOptions {
  return {
    storage,
    name: 'final',
    source: 'commit 7',
    marker: 'config.json',
    files: [
      { name: 'config.json', content: '{"architectures": ["LlamaForCausalLM"]}' },
      { name: 'tokenizer.json', content: Buffer.from('{}') },
    ],
    weights: { stem: 'model', tensors: [tensor('a', [1, 2, 3]), tensor('b', [4, 5])] },
    ...change,
  };
}

test('a published folder holds the files, the weights and a manifest of both', async () => {
  const storage = await newRun(root);
  const { uri, written } = await publishModel(publishOptions(storage));
  expect(written).toBe(true);
  expect(uri).toBe(path.join(storage.folder, 'final'));
  expect(readdirSync(uri).sort()).toEqual([
    'config.json',
    'model.safetensors',
    'temper_manifest.json',
    'tokenizer.json',
  ]);
  const locations = await locateTensors(uri);
  const { byteOffset, byteLength } = locations.get('b')!;
  const bytes = readFileSync(path.join(uri, 'model.safetensors')).subarray(
    byteOffset,
    byteOffset + byteLength,
  );
  expect([bytes.readFloatLE(0), bytes.readFloatLE(4)]).toEqual([4, 5]);
});

test('weights beyond the limit of one file are split, with an index that finds them', async () => {
  const storage = await newRun(root);
  const tensors = [tensor('a', [1, 2, 3]), tensor('b', [4, 5]), tensor('c', [6])];
  const { uri } = await publishModel(
    publishOptions(storage, { weights: { stem: 'model', tensors, maxFileBytes: 12 } }),
  );
  expect(readdirSync(uri).filter((name) => name.startsWith('model'))).toEqual([
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'model.safetensors.index.json',
  ]);
  expect([...(await locateTensors(uri)).keys()].sort()).toEqual(['a', 'b', 'c']);
});

test('a publication is not written twice from the same source, and replaced from another', async () => {
  const storage = await newRun(root);
  await publishModel(publishOptions(storage));
  expect((await publishModel(publishOptions(storage))).written).toBe(false);
  const otherSource = publishOptions(storage, {
    source: 'commit 8',
    weights: { stem: 'model', tensors: [tensor('z', [1])] },
  });
  expect((await publishModel(otherSource)).written).toBe(true);
  expect([...(await locateTensors(path.join(storage.folder, 'final'))).keys()]).toEqual(['z']);
  expect(readdirSync(storage.folder)).toEqual(['final']);
});

test('a publication that lost a file is written again', async () => {
  const storage = await newRun(root);
  await publishModel(publishOptions(storage));
  await storage.delete('final/tokenizer.json');
  expect((await publishModel(publishOptions(storage))).written).toBe(true);
});

test('nothing has the final name while a publication is written, and a failure leaves the earlier one', async () => {
  const storage = await newRun(root);
  const visibleFolders: string[][] = [];
  const listVisible = () => readdirSync(storage.folder).filter((name) => !name.startsWith('.'));
  const watchedTensor: SafetensorsSource = {
    name: 'w',
    dtype: 'F32',
    shape: [2],
    *chunks() {
      visibleFolders.push(listVisible());
      yield new Uint8Array(8);
    },
  };
  await publishModel(publishOptions(storage, { weights: { stem: 'model', tensors: [watchedTensor] } }));
  expect(visibleFolders).toEqual([[]]);
  const failingTensor: SafetensorsSource = { ...watchedTensor, chunks: () => [new Uint8Array(4)] };
  const attempt = publishModel(
    publishOptions(storage, { source: 'x', weights: { stem: 'model', tensors: [failingTensor] } }),
  );
  await expect(attempt).rejects.toThrow(/"w" takes 8 bytes/);
  expect(readdirSync(storage.folder)).toEqual(['final']);
  expect([...(await locateTensors(path.join(storage.folder, 'final'))).keys()]).toEqual(['w']);
});

test('the files of a killed publication are removed by the next one', async () => {
  const storage = await newRun(root);
  await storage.write('.final.0.unfinished/model.safetensors', Buffer.from('torn'));
  await publishModel(publishOptions(storage));
  expect(readdirSync(storage.folder)).toEqual(['final']);
});

test('storage that returns other bytes than it received is detected', async () => {
  const storage = await newRun(root);
  const faultyStorage = new Proxy(storage, {
    get(target, key) {
      if (key === 'at') return (name: string) => dropLastBytes(target.at(name));
      return Reflect.get(target, key, target) as unknown;
    },
  });
  await expect(publishModel(publishOptions(faultyStorage))).rejects.toThrow(
    /model\.safetensors: read back, it is not what was written/,
  );
  expect(readdirSync(storage.folder)).toEqual([]);
});

/** Returns storage that drops the last byte of each object: a fault that no real disk shows on demand. */
function dropLastBytes(storage: Storage): Storage {
  return new Proxy(storage, {
    get(target, key) {
      if (key !== 'write') {
        const value = Reflect.get(target, key, target) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      }
      return async (name: string, data: AsyncIterable<Uint8Array>) => {
        const chunks: Uint8Array[] = [];
        for await (const chunk of data) chunks.push(chunk);
        await target.write(name, Buffer.concat(chunks).subarray(0, -1));
      };
    },
  });
}

test('a publication may have files in folders, and no weights', async () => {
  const storage = await newRun(root);
  const files = [
    { name: 'config.json', content: '{}' },
    { name: 'onnx/model.onnx', content: 'graph' },
  ];
  const { uri, files: manifestFiles } = await publishModel(publishOptions(storage, { files, weights: null }));
  expect(Object.keys(manifestFiles).sort()).toEqual(['config.json', 'onnx/model.onnx']);
  expect(readFileSync(path.join(uri, 'onnx/model.onnx'), 'utf8')).toBe('graph');
});

test('the files that loaders look for first are written after the files that they then load', async () => {
  const storage = await newRun(root);
  const order: string[] = [];
  const file = (name: string) => ({
    name,
    async *content() {
      order.push(name);
      yield Buffer.from('{}');
    },
  });
  const files = ['adapter_config.json', 'config.json', 'genai_config.json', 'onnx/model.onnx'].map(file);
  await publishModel(publishOptions(storage, { marker: 'adapter_config.json', files, weights: null }));
  expect(order[0]).toBe('onnx/model.onnx');
});

test('a folder may be replaced when it is empty or a publication', async () => {
  const storage = await newRun(root);
  expect(await isReplaceable(storage.at('final'))).toBe(true);
  await publishModel(publishOptions(storage));
  expect(await isReplaceable(storage.at('final'))).toBe(true);
  await storage.write('other/notes.txt', Buffer.from('mine'));
  expect(await isReplaceable(storage.at('other'))).toBe(false);
});

test.each([
  ['a path as a file name', { files: [{ name: '../x', content: '' }] }],
  ['a hidden file in a folder', { files: [{ name: 'onnx/.x', content: '' }] }],
  ['a folder as a file name', { files: [{ name: 'onnx/', content: '' }] }],
  [
    'a file twice',
    {
      files: [
        { name: 'config.json', content: '' },
        { name: 'config.json', content: '' },
      ],
    },
  ],
  [
    'a file where the weights go',
    {
      files: [
        { name: 'config.json', content: '' },
        { name: 'model.safetensors', content: '' },
      ],
    },
  ],
  ['no marker', { files: [] }],
])('a publication with %s is refused before anything is written', async (_, change) => {
  const storage = await newRun(root);
  await expect(publishModel(publishOptions(storage, change))).rejects.toThrow(CheckpointError);
});

test("a folder of that name with a user's own files is refused and left alone", async () => {
  const storage = await newRun(root);
  await storage.write('final/thesis.tex', Buffer.from('mine'));
  await expect(publishModel(publishOptions(storage))).rejects.toThrow(
    /final holds files but no temper_manifest\.json/,
  );
  expect((await storage.read('final/thesis.tex')).toString()).toBe('mine');
});
