/** Uploads to a local hub with the protocol of the real one. */
import { createHash } from 'node:crypto';
import { type UploadOptions, uploadModel } from '../../../components/publication/hub/upload.js';
import type { UploadFile } from '../../../components/publication/hub/upload_blob.js';
import { ServiceUnavailable, StorageError } from '../../../shared/errors.js';
import { UploadHub } from '../../support/upload_hub.js';

const id = 'owner/tiny';
const manifest = {
  name: 'manifest.json',
  listed: (text: Uint8Array) => JSON.parse(Buffer.from(text).toString()) as string[],
};

let hub: UploadHub;
beforeEach(async () => {
  hub = await UploadHub.start();
});
afterEach(async () => {
  await hub.close();
});

function file(path: string, content: Buffer | string): UploadFile {
  const bytes = Buffer.from(content);
  return {
    path,
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    async *read(start, end) {
      for (let offset = start; offset < end; offset += 1000)
        yield bytes.subarray(offset, Math.min(offset + 1000, end));
    },
  };
}

/** Returns the files, with a manifest of their names. */
function publication(...files: UploadFile[]): UploadFile[] {
  return [...files, file(manifest.name, JSON.stringify(files.map(({ path }) => path)))];
}

const weights = Buffer.alloc(100_000, 'weights');
const model = publication(
  file('config.json', '{}'),
  file('model.safetensors', weights),
  file('onnx/model.onnx', 'graph'),
);

const upload = (options: Partial<UploadOptions> = {}) =>
  uploadModel({
    endpoint: hub.endpoint,
    token: 'hf_test',
    retryDelayMs: 1,
    id,
    branch: 'main',
    files: model,
    manifest,
    title: 'A model',
    ...options,
  });

test('an upload creates the repository, and makes one commit of all files', async () => {
  const { url, commit, written } = await upload();
  expect({ url, written }).toEqual({ url: `${hub.endpoint}/${id}`, written: true });
  expect(hub.commits(id).map(({ title }) => title)).toEqual(['initial commit', 'A model']);
  expect(hub.commits(id)[1]!.sha).toBe(commit);
  expect(Object.keys(hub.files(id)).sort()).toEqual([
    '.gitattributes',
    'config.json',
    'manifest.json',
    'model.safetensors',
    'onnx/model.onnx',
  ]);
  expect(hub.files(id)['model.safetensors']).toEqual(weights);
});

test('an upload of files that are already there makes no commit', async () => {
  const firstUpload = await upload();
  expect(await upload()).toEqual({ ...firstUpload, written: false });
  expect(hub.commits(id)).toHaveLength(2);
});

test('a large file that arrived is not sent again', async () => {
  await upload();
  await upload({ files: publication(file('config.json', '{"a": 1}'), file('model.safetensors', weights)) });
  expect(hub.sent).toHaveLength(2);
  expect(new Set(hub.sent).size).toBe(2);
});

test('an upload removes files of the earlier publication, and keeps other files', async () => {
  await upload();
  const newestCommit = hub.commits(id).at(-1)!;
  newestCommit.files.LICENSE = Buffer.from('MIT');
  newestCommit.files['picture.png'] = Buffer.from('x');
  await upload({ files: publication(file('config.json', '{}')) });
  expect(Object.keys(hub.files(id)).sort()).toEqual([
    '.gitattributes',
    'LICENSE',
    'config.json',
    'manifest.json',
    'picture.png',
  ]);
});

test('a repository that holds something else is refused and left alone', async () => {
  hub.create(id, { 'pytorch_model.bin': Buffer.from('precious') });
  await expect(upload()).rejects.toThrow(/holds files that Temper did not publish \(pytorch_model.bin\)/);
  expect(hub.commits(id)).toHaveLength(1);
});

test('an upload creates a missing branch', async () => {
  const { url } = await upload({ branch: 'try-2' });
  expect(url).toBe(`${hub.endpoint}/${id}/tree/try-2`);
  expect(hub.commits(id)).toHaveLength(1);
  expect(hub.files(id, 'try-2')['model.safetensors']).toEqual(weights);
});

test('larger files are uploaded in parts', async () => {
  hub.partBytes = 30_000;
  await upload();
  expect(hub.sent.filter((name) => name.includes('/'))).toHaveLength(4);
  expect(hub.files(id)['model.safetensors']).toEqual(weights);
});

test.each([
  ['no token', { token: '' }, /HF_TOKEN is not set/],
  ['a text that is not a token', { token: 'secret' }, /HF_TOKEN is not a Hugging Face token/],
  ['a token that the hub does not know', { token: 'hf_wrong' }, /the hub does not know HF_TOKEN/],
  ['an owner that is not the token’s', { id: 'somebody/tiny' }, /give it write access to 'somebody'/],
])('an upload with %s is refused, and the error says what to do', async (_, options, message) => {
  const failure = await upload(options).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(StorageError);
  expect((failure as Error).message).toMatch(message);
  expect((failure as Error).message).not.toContain('hf_wrong');
});

test.each([429, 503])('an upload is repeated after an answer of %d', async (status) => {
  const attempts = new Map<string, number>();
  hub.intercept = (request, response) => {
    const key = `${request.method} ${request.url}`;
    attempts.set(key, (attempts.get(key) ?? 0) + 1);
    if (attempts.get(key)! > 1) return false;
    response.writeHead(status, { 'retry-after': '0' }).end();
    return true;
  };
  await upload();
  expect(hub.commits(id)).toHaveLength(2);
  expect(hub.files(id)['model.safetensors']).toEqual(weights);
});

test('an upload is repeated after its connection breaks', async () => {
  let putCount = 0;
  hub.delivers = (request) => request.method !== 'PUT' || ++putCount > 2;
  await upload();
  expect(hub.files(id)['model.safetensors']).toEqual(weights);
});

test('an upload to a hub that cannot be reached is ServiceUnavailable', async () => {
  hub.intercept = (request) => {
    request.socket.destroy();
    return true;
  };
  await expect(upload()).rejects.toThrow(ServiceUnavailable);
});

test('a commit whose answer was lost is not made twice', async () => {
  let commitCount = 0;
  hub.delivers = (request) => !(request.url!.includes('/commit/') && ++commitCount === 1);
  expect(await upload()).toMatchObject({ written: true });
  expect(hub.commits(id)).toHaveLength(2);
});

test('an upload to a hub that answers no commit is ServiceUnavailable', async () => {
  hub.intercept = (request, response) => {
    if (!request.url!.includes('/commit/')) return false;
    response.writeHead(500).end();
    return true;
  };
  const failure = await upload().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(ServiceUnavailable);
  expect((failure as Error).message).toMatch(/nothing could be committed .* answers 500/);
});

test('a commit that follows one of another user is made again on top of it', async () => {
  let isOvertaken = false;
  hub.intercept = (request) => {
    if (isOvertaken || !request.url!.includes('/commit/')) return false;
    isOvertaken = true;
    const [initialCommit] = hub.commits(id);
    hub.commits(id).push({ ...initialCommit!, sha: 'a'.repeat(40), title: 'theirs' });
    return false;
  };
  await upload();
  expect(hub.commits(id).map(({ title }) => title)).toEqual(['initial commit', 'theirs', 'A model']);
});

test('the token is sent to the hub’s API, and not to its storage', async () => {
  const authorized: [string, boolean][] = [];
  hub.intercept = (request) => {
    authorized.push([request.url!.split('/')[1]!, request.headers.authorization !== undefined]);
    return false;
  };
  await upload();
  expect(authorized.filter(([, sent]) => !sent).map(([at]) => at)).toEqual(['storage', 'storage']);
  expect(authorized.filter(([at]) => at === 'storage')).toHaveLength(2);
});
