/** Tells a server that requires TLS from one that does not answer. */
import { connect } from 'node:tls';

/** ms that a handshake may take. */
const patience = 2_000;

/** Returns whether `host:port` completes a TLS handshake, whatever its certificate. */
export function speaksTls(address: string): Promise<boolean> {
  const colon = address.lastIndexOf(':');
  const [host, port] = [address.slice(0, colon).replace(/^\[|\]$/g, ''), Number(address.slice(colon + 1))];
  if (colon < 0 || !Number.isInteger(port) || port < 1 || port > 65_535) return Promise.resolve(false);
  return new Promise((resolve) => {
    // Nothing is sent: the certificate is judged when a connection is made in earnest.
    const socket = connect({ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    const end = (speaks: boolean) => {
      socket.destroy();
      resolve(speaks);
    };
    socket.setTimeout(patience, () => end(false));
    socket.once('secureConnect', () => end(true));
    // A server that demands a client's certificate, or turns our protocol away, says so in TLS.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => end(code?.includes('_ALERT_') === true));
    socket.once('close', () => end(false));
  });
}

/** The remedy for a server that requires TLS where none is configured. */
export const tlsRemedy =
  'the server uses TLS, which is not configured: set TEMPORAL_TLS=true, and TEMPORAL_TLS_SERVER_CA_CERT_PATH for a private ' +
  'certificate authority or TEMPORAL_API_KEY for Temporal Cloud';
