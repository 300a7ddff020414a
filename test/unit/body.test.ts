import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { toRotationError } from '../../src/errors';
import { readBody } from '../../src/http/request';

const LIMIT = 16 * 1024;
const MIB = 1024 * 1024;

const server = createServer((request, response) => {
  readBody(request).then(
    (body) => response.end(`read ${body.length}\n`),
    (error: unknown) => response.end(`${toRotationError(error).message}\n`),
  );
});
const clients: Socket[] = [];

beforeAll(() => once(server.listen(0, '127.0.0.1'), 'listening'));
afterAll(() => server.close());
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});

/** A connection on which a client has started to send. */
async function send(...pieces: (string | Buffer)[]): Promise<Socket> {
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  clients.push(client);
  await once(client, 'connect');
  for (const piece of pieces) client.write(piece);
  return client;
}

/** Resolves with everything that the server sent, as soon as it contains the expected text. */
async function hears(client: Socket, expected: string): Promise<string> {
  let heard = '';
  for await (const piece of client.iterator({ destroyOnReturn: false })) {
    heard += String(piece);
    if (heard.includes(expected)) return heard;
  }
  throw new Error(`the server ended the connection after: ${heard}`);
}

const head = (...headers: string[]): string =>
  ['POST / HTTP/1.1', 'Host: x', ...headers, '', ''].join('\r\n');
const announced = (length: number): string => head(`Content-Length: ${length}`);
const chunked = head('Transfer-Encoding: chunked');
const chunk = (length: number): string => `${length.toString(16)}\r\n${'x'.repeat(length)}\r\n`;
const tooLong = `its body is longer than ${LIMIT} bytes`;

test('refuses a body that is announced as too long before any of it is sent', async () => {
  await hears(await send(announced(LIMIT + 1)), tooLong);
});

test('refuses a body as soon as it is too long, although more could follow', async () => {
  await hears(await send(chunked, chunk(LIMIT), chunk(1)), tooLong);
});

test('counts the bytes of a compressed body as they are sent', async () => {
  const gzip = head('Transfer-Encoding: chunked', 'Content-Encoding: gzip');
  await hears(await send(gzip, chunk(LIMIT + 1)), tooLong);
});

test.each([
  ['announced', [announced(LIMIT), 'x'.repeat(LIMIT)]],
  ['in pieces', [announced(LIMIT), 'x', 'x'.repeat(LIMIT - 1)]],
  ['chunked', [chunked, chunk(1), chunk(LIMIT - 1), '0\r\n\r\n']],
])('accepts a body of exactly the limit: %s', async (_, pieces) => {
  await hears(await send(...pieces), `read ${LIMIT}`);
});

test.each([
  ['announced', [announced(4 * MIB), Buffer.alloc(4 * MIB)]],
  ['chunked', [chunked, chunk(4 * MIB), '0\r\n\r\n']],
])('answers a client that reads only after it has sent everything: %s', async (_, pieces) => {
  const client = await send(...pieces);
  if (client.writableNeedDrain) await once(client, 'drain');
  await hears(client, tooLong);
  client.write(announced(1) + 'x');
  await hears(client, 'read 1');
});

test('refuses a body that other code has read, because an empty one names all secrets', async () => {
  const read = Object.assign(Readable.from([]), { headers: { 'content-length': '2' } });
  await expect(readBody(read as unknown as IncomingMessage)).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('its body was already read') as string,
  });
});
