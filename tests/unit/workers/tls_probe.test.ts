import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { speaksTls } from '../../../workers/temporal/tls_probe.js';
import { tlsCertificate } from '../../support/tls_certificate.js';

async function probe(server: Server): Promise<boolean> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const answer = await speaksTls(`127.0.0.1:${port}`);
  server.close();
  return answer;
}

test('a TLS server with an untrusted certificate is detected', async () => {
  expect(await probe(createTlsServer(tlsCertificate))).toBe(true);
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)(
  'a server of %s that requires a certificate of its client is detected as a TLS server',
  async (version) => {
    const mutual = { requestCert: true, rejectUnauthorized: true, minVersion: version, maxVersion: version };
    expect(await probe(createTlsServer({ ...tlsCertificate, ...mutual }))).toBe(true);
  },
);

test('a server that answers in plain text is not taken for a TLS server', async () => {
  expect(await probe(createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')))).toBe(false);
});

test.each(['127.0.0.1:1', 'localhost', 'localhost:x'])(
  'the address %s without a server is not taken for a TLS server',
  async (address) => {
    expect(await speaksTls(address)).toBe(false);
  },
);
