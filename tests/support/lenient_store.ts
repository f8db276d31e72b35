/** A proxy in front of an S3 server that ignores the condition of conditional writes, as some object stores do. */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Server } from './s3_server.js';

export class LenientStore {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** `strips the header`: every write replaces. `answers 200`: nothing is replaced, but the writer is not refused. */
  static async start(store: S3Server, how: 'strips the header' | 'answers 200'): Promise<LenientStore> {
    const endpoint = store.env.AWS_ENDPOINT_URL_S3!;
    const [accessKeyId, secretAccessKey] = [store.env.AWS_ACCESS_KEY_ID!, store.env.AWS_SECRET_ACCESS_KEY!];
    const credentials = { accessKeyId, secretAccessKey };
    const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
    const handle = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
      const body = Buffer.concat(await incoming.toArray());
      if (how === 'strips the header' && incoming.headers['if-none-match'] !== undefined) {
        // The header is part of the signature, so a client signs the request again.
        const [Bucket, ...key] = decodeURIComponent(new URL(incoming.url!, endpoint).pathname)
          .slice(1)
          .split('/');
        const { ETag } = await client.send(new PutObjectCommand({ Bucket, Key: key.join('/'), Body: body }));
        outgoing.writeHead(200, { etag: ETag! }).end();
        return;
      }
      const { method, headers, url } = incoming;
      const forwarded = request(`${endpoint}${url}`, { method, headers }, (answer) => {
        const hidesRefusal = answer.statusCode === 412 && how === 'answers 200';
        outgoing.writeHead(
          hidesRefusal ? 200 : answer.statusCode!,
          hidesRefusal ? { etag: '"0"' } : answer.headers,
        );
        if (hidesRefusal) outgoing.end();
        else answer.pipe(outgoing);
      });
      forwarded.end(body);
    };
    const server = createServer((incoming, outgoing) => void handle(incoming, outgoing));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new LenientStore(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
