import { once } from 'node:events';
import { connect, type ClientHttp2Session } from 'node:http2';
import { status } from '@grpc/grpc-js';

const PATH = '/control_client.ScsControl/ListCaches';
/** A gRPC frame with an empty message. */
const EMPTY_MESSAGE = Buffer.alloc(5);
const TIMEOUT = 10_000;

/**
 * Calls ListCaches with one key after another in one HTTP/2 session. A gRPC client could open other connections unnoticed.
 *
 * @returns the names of the gRPC codes
 */
export async function listCachesOnOneConnection(
  origin: string,
  apiKeys: readonly string[],
): Promise<string[]> {
  const session = connect(origin);
  try {
    await once(session, 'connect', { signal: AbortSignal.timeout(TIMEOUT) });
    const codes: string[] = [];
    for (const apiKey of apiKeys) codes.push(await call(session, apiKey));
    return codes;
  } finally {
    session.destroy();
  }
}

async function call(session: ClientHttp2Session, apiKey: string): Promise<string> {
  const stream = session.request(
    {
      ':method': 'POST',
      ':path': PATH,
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: apiKey,
    },
    { signal: AbortSignal.timeout(TIMEOUT) },
  );
  let code: unknown;
  // An error can come with the headers, and then there are no trailers.
  for (const event of ['response', 'trailers']) {
    stream.on(event, (headers: Record<string, unknown>) => (code ??= headers['grpc-status']));
  }
  stream.resume().end(EMPTY_MESSAGE);
  await once(stream, 'close');
  return status[Number(code)] ?? 'no gRPC status';
}
