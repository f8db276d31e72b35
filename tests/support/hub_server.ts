/** A local server that speaks the Hugging Face hub's protocol: revisions, paged trees, ranges, redirects, and its failures. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface HubRepository {
  id: string;
  /** 40 hex digits. */
  commit: string;
  branch: string;
  /** By path; files ending in `.safetensors` count as stored in large-file storage. */
  files: Record<string, Buffer>;
  /** Requests without this token are refused. */
  token?: string;
}

export interface HubRequest {
  url: string;
  range: string | null;
  authorization: string | null;
}

export interface HubServer {
  endpoint: string;
  requests: HubRequest[];
  /** Called before each answer to a file's content; may answer itself and return true. */
  intercept:
    | ((request: IncomingMessage, response: ServerResponse, content: Buffer, start: number) => boolean)
    | null;
  /** Answers this many requests with 503 first. */
  failing: number;
  close(): Promise<void>;
}

/** Files of a tree on each page, so that small repositories have several. */
const pageSize = 2;

export async function startHubServer(repository: HubRepository): Promise<HubServer> {
  const server = createServer((request, response) => answer(hub, repository, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const hub: HubServer = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    intercept: null,
    failing: 0,
    close: () => close(server),
  };
  return hub;
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

function answer(
  hub: HubServer,
  repository: HubRepository,
  request: IncomingMessage,
  response: ServerResponse,
): ServerResponse {
  const url = new URL(request.url ?? '/', hub.endpoint);
  const { range = null, authorization = null } = request.headers;
  hub.requests.push({ url: `${url.pathname}${url.search}`, range, authorization });
  const { id, commit, branch, files, token } = repository;
  if (hub.failing > 0) {
    hub.failing--;
    return status(response, 503);
  }
  if (token !== undefined && authorization !== `Bearer ${token}`) return status(response, 401);
  const revision = `/api/models/${id}/revision/`;
  const tree = `/api/models/${id}/tree/${commit}`;
  const resolve = `/${id}/resolve/${commit}/`;
  const cdn = '/cdn/';
  if (url.pathname === `${revision}${branch}` || url.pathname === `${revision}${commit}`)
    return json(response, { id, sha: commit });
  if (url.pathname === tree) return sendTree(response, url, files, hub.endpoint);
  const prefix = url.pathname.startsWith(resolve) ? resolve : url.pathname.startsWith(cdn) ? cdn : null;
  const name = prefix === null ? null : decodeURIComponent(url.pathname.slice(prefix.length));
  const content = name === null ? undefined : files[name];
  if (content === undefined) return status(response, 404);
  if (prefix === resolve && name!.endsWith('.safetensors')) {
    return response.writeHead(302, { location: `${hub.endpoint}${cdn}${name}` }).end();
  }
  return sendContent(hub, request, response, content, range);
}

const isSafetensors = (path: string) => path.endsWith('.safetensors');

/** Sends a page of a tree; `isLarge` returns true for files in large-file storage. */
export function sendTree(
  response: ServerResponse,
  url: URL,
  files: Record<string, Buffer>,
  endpoint: string,
  isLarge: (path: string, bytes: number) => boolean = isSafetensors,
): ServerResponse {
  const cursor = Number(url.searchParams.get('cursor') ?? 0);
  const names = Object.keys(files);
  const entries = names.slice(cursor, cursor + pageSize).map((path) => describe(path, files[path]!, isLarge));
  if (cursor + pageSize < names.length) {
    response.setHeader(
      'link',
      `<${endpoint}${url.pathname}?recursive=true&cursor=${cursor + pageSize}>; rel="next"`,
    );
  }
  return json(response, entries);
}

function describe(path: string, content: Buffer, isLarge: (path: string, bytes: number) => boolean): object {
  const size = content.length;
  const oid = createHash('sha1').update(`blob ${size}\0`).update(content).digest('hex');
  if (!isLarge(path, size)) return { type: 'file', path, size, oid };
  return {
    type: 'file',
    path,
    size,
    oid,
    lfs: { oid: createHash('sha256').update(content).digest('hex'), size, pointerSize: 134 },
  };
}

function sendContent(
  hub: HubServer,
  request: IncomingMessage,
  response: ServerResponse,
  content: Buffer,
  range: string | null,
): ServerResponse {
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  if (hub.intercept?.(request, response, content, start)) return response;
  if (start > 0)
    response.writeHead(206, { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` });
  return response.end(content.subarray(start));
}

function json(response: ServerResponse, value: unknown): ServerResponse {
  response.setHeader('content-type', 'application/json');
  return response.end(JSON.stringify(value));
}

function status(response: ServerResponse, code: number): ServerResponse {
  return response.writeHead(code).end();
}
