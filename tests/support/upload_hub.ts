/**
 * A local hub that can be written to, over the protocol of the real one: repositories and branches, the choice between
 * regular and large files, git-lfs' batch with single and multipart uploads, commits as lines of JSON with a parent.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sendTree } from './hub_server.js';

/** Larger files go to large-file storage; those of the real hub's list (`*.onnx`, `*.safetensors`) do anyway. */
const regularBytes = 64 << 10;

export interface HubCommit {
  sha: string;
  title: string;
  files: Record<string, Buffer>;
}

interface Repository {
  /** Commits by branch, oldest first. */
  branches: Map<string, HubCommit[]>;
}

export class UploadHub {
  readonly repositories = new Map<string, Repository>();
  /** Large files that arrived whole, by sha256. */
  readonly objects = new Map<string, Buffer>();
  /** Each request: `POST /api/…`. */
  readonly requests: string[] = [];
  /** sha256 of the large files whose bytes were sent, whole or in part. */
  readonly sent: string[] = [];
  /** Larger files are uploaded in parts of these bytes; null: in one request. */
  partBytes: number | null = null;
  /** Called before each answer; may answer itself, or break the connection, and return true. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | null = null;
  /** Called with each request that was carried out, before its answer; returns false to break the connection. */
  delivers: (request: IncomingMessage) => boolean = () => true;

  readonly #token: string;
  readonly #owners: readonly string[];
  readonly #parts = new Map<string, Map<number, Buffer>>();
  readonly #server = createServer((request, response) => {
    void this.#answer(request, response);
  });

  private constructor(
    token: string,
    /** Owners that the token may write to. */
    owners: readonly string[],
  ) {
    this.#token = token;
    this.#owners = owners;
  }

  static async start(token = 'hf_test', owners: readonly string[] = ['owner']): Promise<UploadHub> {
    const hub = new UploadHub(token, owners);
    await new Promise<void>((resolve) => hub.#server.listen(0, '127.0.0.1', resolve));
    return hub;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Creates a repository as the real hub does: with one commit, of `.gitattributes`. */
  create(id: string, files: Record<string, Buffer> = {}): void {
    const firstCommit = makeCommit('initial commit', {
      '.gitattributes': Buffer.from('*.bin filter=lfs\n'),
      ...files,
    });
    this.repositories.set(id, { branches: new Map([['main', [firstCommit]]]) });
  }

  commits(id: string, branch = 'main'): HubCommit[] {
    return this.repositories.get(id)?.branches.get(branch) ?? [];
  }

  /** Returns the files of the branch's newest commit. */
  files(id: string, branch = 'main'): Record<string, Buffer> {
    return this.commits(id, branch).at(-1)?.files ?? {};
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const url = new URL(request.url ?? '/', this.endpoint);
    this.requests.push(`${request.method} ${url.pathname}`);
    if (this.intercept?.(request, response)) return;
    const storageMatch = /^\/storage\/([0-9a-f]{64})(?:\/(\d+|complete))?$/.exec(url.pathname);
    if (storageMatch !== null)
      return this.#store(request, response, storageMatch[1]!, storageMatch[2] ?? null);
    if (request.headers.authorization !== `Bearer ${this.#token}`)
      return send(response, 401, { error: 'Invalid username or password.' });
    const answer = await this.#api(request, url, response);
    if (answer === null) return;
    if (!this.delivers(request)) return request.socket.destroy();
    return send(response, answer[0], answer[1]);
  }

  /** Returns status and body; null when the answer was already sent. */
  async #api(
    request: IncomingMessage,
    url: URL,
    response: ServerResponse,
  ): Promise<[number, unknown] | null> {
    const pathname = decodeURIComponent(url.pathname);
    if (pathname === '/api/repos/create') return this.#createRepository(await readJson(request));
    const [, lfsId] = /^\/([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(pathname) ?? [];
    if (lfsId !== undefined) return this.#batch(lfsId, await readJson(request));
    const [, resolveId, revision, file] =
      /^\/([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(pathname) ?? [];
    if (resolveId !== undefined) {
      const content = this.#find(resolveId, revision!)?.files[file!];
      if (content === undefined) return [404, { error: 'Entry not found' }];
      response.end(content);
      return null;
    }
    const [, id, action, rest = ''] = /^\/api\/models\/([^/]+\/[^/]+)\/([^/]+)\/(.+)$/.exec(pathname) ?? [];
    if (id === undefined) return [404, { error: 'Not found' }];
    const repository = this.repositories.get(id);
    if (repository === undefined) return [404, { error: 'Repository not found' }];
    const writes = ['branch', 'preupload', 'commit'].includes(action!);
    if (writes && !this.#mayWrite(id)) return [403, { error: 'Forbidden: you may not write here' }];
    switch (action) {
      case 'revision': {
        const commit = this.#find(id, rest) ?? this.commits(id, rest).at(-1);
        return commit === undefined ? [404, { error: 'Invalid rev id' }] : [200, { id, sha: commit.sha }];
      }
      case 'tree':
        sendTree(response, url, this.#find(id, rest)?.files ?? {}, this.endpoint, isLarge);
        return null;
      case 'branch':
        if (repository.branches.has(rest)) return [409, { error: 'Reference already exists' }];
        repository.branches.set(rest, [...this.commits(id)]);
        return [200, {}];
      case 'preupload': {
        const { files } = await readJson<{ files: { path: string; size: number }[] }>(request);
        const uploads = files.map(({ path, size }) => ({
          path,
          uploadMode: isLarge(path, size) ? 'lfs' : 'regular',
        }));
        return [200, { files: uploads }];
      }
      case 'commit':
        return this.#commit(id, rest, await readText(request));
      default:
        return [404, { error: 'Not found' }];
    }
  }

  #find(id: string, sha: string): HubCommit | undefined {
    const branches = this.repositories.get(id)?.branches.values() ?? [];
    return [...branches].flat().find((commit) => commit.sha === sha);
  }

  #mayWrite(id: string): boolean {
    return this.#owners.includes(id.split('/')[0]!);
  }

  #createRepository({ organization, name }: { organization: string; name: string }): [number, unknown] {
    const id = `${organization}/${name}`;
    if (!this.#mayWrite(id))
      return [403, { error: "You don't have the rights to create a model under this namespace" }];
    if (this.repositories.has(id)) return [409, { error: 'You already created this model repo' }];
    this.create(id);
    return [200, { url: `${this.endpoint}/${id}`, id }];
  }

  #batch(id: string, { objects }: { objects: { oid: string; size: number }[] }): [number, unknown] {
    if (!this.#mayWrite(id)) return [403, { error: 'Forbidden: you may not write here' }];
    const answers = objects.map(({ oid, size }) => {
      if (this.objects.has(oid)) return { oid, size };
      const href = `${this.endpoint}/storage/${oid}`;
      if (this.partBytes === null || size <= this.partBytes)
        return { oid, size, actions: { upload: { href } } };
      const header: Record<string, string> = { chunk_size: String(this.partBytes) };
      for (let part = 1; (part - 1) * this.partBytes < size; part++)
        header[String(part).padStart(5, '0')] = `${href}/${part}`;
      return { oid, size, actions: { upload: { href: `${href}/complete`, header } } };
    });
    return [200, { transfer: this.partBytes === null ? 'basic' : 'multipart', objects: answers }];
  }

  /** Stores a large file or a part of it; an upload that breaks off stores nothing. */
  async #store(
    request: IncomingMessage,
    response: ServerResponse,
    oid: string,
    part: string | null,
  ): Promise<unknown> {
    if (part !== 'complete') this.sent.push(part === null ? oid : `${oid}/${part}`);
    const content = await readBody(request).catch(() => null);
    if (content === null) return;
    if (!this.delivers(request)) return request.socket.destroy();
    if (part === null) return this.#storeObject(response, oid, content);
    const parts = this.#parts.get(oid) ?? new Map<number, Buffer>();
    this.#parts.set(oid, parts);
    if (part !== 'complete') {
      parts.set(Number(part), content);
      return response.writeHead(200, { etag: `"${part}"` }).end();
    }
    const completion = JSON.parse(content.toString()) as { parts: { partNumber: number; etag: string }[] };
    return this.#storeObject(
      response,
      oid,
      Buffer.concat(completion.parts.map(({ partNumber }) => parts.get(partNumber)!)),
    );
  }

  #storeObject(response: ServerResponse, oid: string, content: Buffer): unknown {
    if (createHash('sha256').update(content).digest('hex') !== oid)
      return send(response, 400, { error: 'the content has another digest' });
    this.objects.set(oid, content);
    return send(response, 200, {});
  }

  #commit(id: string, branch: string, body: string): [number, unknown] {
    const lines = body.split('\n').map((line) => JSON.parse(line) as { key: string; value: CommitLine });
    const commits = this.repositories.get(id)!.branches.get(branch);
    if (commits === undefined) return [404, { error: 'Invalid rev id' }];
    const files = { ...commits.at(-1)!.files };
    let title = '';
    for (const { key, value } of lines) {
      if (key === 'header') {
        title = value.summary!;
        if (value.parentCommit !== undefined && value.parentCommit !== commits.at(-1)!.sha)
          return [412, { error: 'A commit has happened since. Please refresh and try again.' }];
      } else if (key === 'deletedFile') delete files[value.path!];
      else if (key === 'file') files[value.path!] = Buffer.from(value.content!, 'base64');
      else {
        const object = this.objects.get(value.oid!);
        if (object === undefined) return [400, { error: `lfs object ${value.oid} was not uploaded` }];
        files[value.path!] = object;
      }
    }
    const commit = makeCommit(title, files);
    commits.push(commit);
    return [200, { commitOid: commit.sha, commitUrl: `${this.endpoint}/${id}/commit/${commit.sha}` }];
  }
}

interface CommitLine {
  summary?: string;
  parentCommit?: string;
  path?: string;
  content?: string;
  oid?: string;
}

const isLarge = (path: string, size: number) =>
  /\.(onnx|safetensors|onnx_data)$/.test(path) || size > regularBytes;

const makeCommit = (title: string, files: Record<string, Buffer>): HubCommit => ({
  sha: randomBytes(20).toString('hex'),
  title,
  files,
});

function send(response: ServerResponse, status: number, body: unknown): ServerResponse {
  return response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const readText = async (request: IncomingMessage) => (await readBody(request)).toString('utf8');
const readJson = async <T = never>(request: IncomingMessage) => JSON.parse(await readText(request)) as T;
