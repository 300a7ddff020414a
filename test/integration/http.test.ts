/** Unusual requests to the built function over raw sockets. */
import { existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { FunctionProcess } from '../function-process';

const MIB = 1024 * 1024;

let rotator: FunctionProcess;
const clients: Socket[] = [];

beforeAll(async () => {
  rotator = await FunctionProcess.start({
    env: {
      SECRETS: 'projects/p/secrets/s',
      // No request of these tests reaches a service.
      SECRET_MANAGER_EMULATOR_HOST: 'localhost:1',
      MOMENTO_EMULATOR_HOST: 'localhost:1',
      // As Terraform sets them for the default memory.
      NODE_OPTIONS: '--max-semi-space-size=4 --max-old-space-size=192',
    },
  });
});
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});
afterAll(() => rotator.stop());

async function dial(): Promise<Socket> {
  const client = connect(Number(new URL(rotator.url).port), '127.0.0.1');
  clients.push(client);
  await once(client, 'connect');
  client.on('error', () => undefined);
  return client;
}

function request(start: string, ...headers: string[]): string {
  return [`${start} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n');
}

/** The function's answer on a connection. */
async function answer(client: Socket): Promise<{ status: number; code: string }> {
  let received = '';
  for await (const piece of client.iterator({ destroyOnReturn: false })) {
    received += String(piece);
    const [head = '', body = ''] = received.split('\r\n\r\n');
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
    if (!(body.length >= length)) continue;
    expect(head).toMatch(/^content-type: application\/json; charset=utf-8$/im);
    const { error } = JSON.parse(body) as { error: { code: string } };
    return { status: Number(head.split(' ')[1]), code: error.code };
  }
  throw new Error(`the function ended the connection after: ${received}`);
}

/** The error codes in the lines that the function logs while something is done, at least so many lines. */
async function logged(act: () => Promise<unknown>, atLeast = 1): Promise<string[]> {
  const lines = await rotator.linesOf(act, atLeast);
  return lines.map((line) => {
    expect(line).toMatchObject({ severity: 'WARNING', event: 'request' });
    return (line.error as { code: string }).code;
  });
}

const NOT_FOUND = { status: 404, code: 'NOT_FOUND' };
const INVALID = { status: 400, code: 'INVALID_REQUEST' };

test.each([
  ["a path that the framework can't decode", request('GET /%'), NOT_FOUND],
  ['an invalid escape in a path', request('POST /%zz', 'Content-Length: 0'), NOT_FOUND],
  ['a whole URL', request('POST http://host:80', 'Content-Length: 1') + '{', INVALID],
  ['a whole URL with a path', request('GET http://host/%zz'), NOT_FOUND],
  ['no path', request('OPTIONS *'), NOT_FOUND],
  ['a path that the framework ignores', request('GET /favicon.ico'), NOT_FOUND],
  ['a query', request('GET /?x'), INVALID],
  ['an empty query', request('POST /?', 'Content-Length: 0'), INVALID],
  ['a query in a whole URL', request('POST http://host?dryRun=true', 'Content-Length: 0'), INVALID],
  ['a query at another path', request('POST /x?dryRun=true', 'Content-Length: 0'), NOT_FOUND],
  ['a fragment', request('POST /#x', 'Content-Length: 0'), NOT_FOUND],
])('logs one line and answers in JSON when a request has %s', async (_, sent, expected) => {
  const lines = await logged(async () => {
    const client = await dial();
    client.write(sent);
    expect(await answer(client)).toEqual(expected);
  });
  expect(lines).toEqual([expected.code]);
});

test.each([
  ['a path with a space', request('GET /a b')],
  ['an unknown method', request('ROTATE /')],
  ['too many headers', request('GET /', `X: ${'x'.repeat(20_000)}`)],
  ['no HTTP', 'rotate, please\r\n\r\n'],
  ['nothing', undefined],
])('logs nothing when a client sends %s', async (_, sent) => {
  const lines = await logged(async () => {
    const client = await dial();
    if (sent === undefined) {
      client.end();
      return;
    }
    client.write(sent);
    let received = '';
    for await (const piece of client) received += String(piece);
    expect(received).toMatch(/^HTTP\/1\.1 4\d\d /);
  }, 0);
  expect(lines).toEqual([]);
});

test.each<[string, (client: Socket) => void, isChunked?: boolean]>([
  ['ends too early', (client) => void client.end()],
  ['is reset', (client) => void client.resetAndDestroy()],
  ['has an invalid chunk', (client) => void client.write('x\r\n'), true],
])('logs one line when an upload %s', async (_, end, isChunked = false) => {
  const lines = await logged(async () => {
    const client = await dial();
    const length = isChunked ? 'Transfer-Encoding: chunked' : 'Content-Length: 100';
    const body = isChunked ? '' : '{"dryRun"';
    client.write(request('POST /', length, 'Expect: 100-continue') + body);
    // The function has received the request when it sends "100 Continue".
    await once(client, 'data');
    end(client);
  });
  expect(lines).toEqual(['INVALID_REQUEST']);
});

test.each(['end', 'resetAndDestroy'] as const)(
  'answers and logs once when a client stops an oversized upload with %s',
  async (end) => {
    const lines = await logged(async () => {
      const client = await dial();
      // The first bytes show that it isn't a push message, whose limit is higher.
      client.write(request('POST /', `Content-Length: ${MIB}`) + 'x'.repeat(64));
      expect(await answer(client)).toEqual(INVALID);
      const closed = once(client, 'close');
      client.on('data', () => undefined);
      client[end]();
      await closed;
    });
    expect(lines).toEqual(['INVALID_REQUEST']);
  },
);

const withProc = existsSync('/proc/self/status') ? test : test.skip;
withProc('keeps memory flat when large uploads and push messages arrive', async () => {
  const peak = (): number => {
    const status = readFileSync(`/proc/${rotator.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  };
  const message = Buffer.from('{"message":{"data":"'.padEnd(32 * MIB, 'A'));
  const compressed = gzipSync(Buffer.alloc(256 * MIB, ' '));
  const plain = Buffer.alloc(32 * MIB, ' ');
  const send = async (n: number): Promise<void> => {
    const isChunked = n % 2 === 1;
    const body = n % 8 === 0 ? compressed : n % 4 === 1 ? message : plain;
    const client = await dial();
    client.write(
      request(
        'POST /',
        'Content-Type: application/json',
        isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`,
        ...(body === compressed ? ['Content-Encoding: gzip'] : []),
      ),
    );
    if (isChunked) client.write(`${body.length.toString(16)}\r\n`);
    // The client sends everything before it reads the answer.
    await new Promise<void>((sent) => client.write(body, () => sent()));
    if (isChunked) client.write('\r\n0\r\n\r\n');
    const { status } = body === message ? { status: 200 } : INVALID;
    await once(client, 'readable');
    expect(String(client.read())).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  };
  const before = peak();
  const lines = await rotator.linesOf(
    () => Promise.all(Array.from({ length: 16 }, (_, n) => send(n))),
    16,
  );
  // V8 lets 64 MiB of garbage pile up, and more on a busy machine. Buffered bodies would take 512 MiB.
  expect(peak() - before).toBeLessThan(200);
  expect(lines.map(({ error }) => error)).toEqual(
    Array(16).fill(expect.objectContaining({ code: 'INVALID_REQUEST' })),
  );
});
