/** Publishes `<folder>/final` and `<folder>/onnx` to a location, and prints each fraction of its progress as a line; to be killed. */
import path from 'node:path';
import { publishUnion } from '../../../recipes/llm/publish/publish_union.js';
import { parsePublishLocation } from '../../../recipes/llm/publish_location.js';
import { openStorage } from '../../../shared/storage/index.js';

const [folder, location] = process.argv.slice(2) as [string, string];
const part = (name: string) => openStorage(path.join(folder, name), { roots: null });
const union = { final: await part('final'), onnx: await part('onnx'), title: 'Published' };
const progress = (fraction: number | null) => process.stdout.write(`${fraction}\n`);
await publishUnion(parsePublishLocation(location), union, { progress, signal: new AbortController().signal });
