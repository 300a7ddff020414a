/** Unusual requests to the function, over real sockets. */
import { existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { FunctionProcess } from '../function-process';
import { until } from '../until';

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
    const { error } = JSON.parse(body) as { error: { code: string; message: string } };
    return { status: Number(head.split(' ')[1]), code: error.code };
  }
  throw new Error(`the function ended the connection after: ${received}`);
}

/** Everything on a connection until the server ends it. */
async function everything(client: Socket): Promise<string> {
  let received = '';
  for await (const piece of client) received += String(piece);
  return received;
}

let lines = 0;
/** The log lines since the last call. It waits for as many as expected, and a last request shows whether there are more. */
async function newLines(count: number): Promise<Record<string, unknown>[]> {
  await rotator.request({ method: 'HEAD' });
  await until(() => rotator.output.split('\n').length - 1 >= lines + count + 1);
  const all = rotator.output.trimEnd().split('\n');
  const found = all.slice(lines, -1).map((line) => JSON.parse(line) as Record<string, unknown>);
  lines = all.length;
  return found;
}

const refused = (code: string): unknown =>
  expect.objectContaining({
    severity: 'WARNING',
    event: 'request',
    error: expect.objectContaining({ code, retryable: false }) as unknown,
  });

test.each([
  ["a path that the framework can't decode", request('GET /%'), 404],
  ['an invalid escape in a path', request('POST /%zz', 'Content-Length: 0'), 404],
  ['a whole URL', request('POST http://host:80', 'Content-Length: 1') + '{', 400],
  ['a whole URL with a path', request('GET http://host/%zz'), 404],
  ['no path', request('OPTIONS *'), 404],
  ['a path that the framework ignores', request('GET /favicon.ico'), 404],
  ['a query', request('GET /?x'), 400],
  ['an empty query', request('POST /?', 'Content-Length: 0'), 400],
  ['a query in a whole URL', request('POST http://host?dryRun=true', 'Content-Length: 0'), 400],
  ['a query at another path', request('POST /x?dryRun=true', 'Content-Length: 0'), 404],
  ['a fragment', request('POST /#x', 'Content-Length: 0'), 404],
])('logs one line and answers in JSON when a request has %s', async (_, sent, status) => {
  const client = await dial();
  client.write(sent);
  const code = status === 404 ? 'NOT_FOUND' : 'INVALID_REQUEST';
  expect(await answer(client)).toEqual({ status, code });
  expect(await newLines(1)).toEqual([refused(code)]);
});

test.each([
  ['a path with a space', request('GET /a b')],
  ['an unknown method', request('ROTATE /')],
  ['too many headers', request('GET /', `X: ${'x'.repeat(20_000)}`)],
  ['no HTTP', 'rotate, please\r\n\r\n'],
])('answers 4xx, rotates nothing and logs nothing when a client sends %s', async (_, sent) => {
  const client = await dial();
  client.write(sent);
  expect(await everything(client)).toMatch(/^HTTP\/1\.1 4\d\d /);
  expect(await newLines(0)).toEqual([]);
});

test.each<[string, (client: Socket) => void, isChunked?: boolean]>([
  ['ends too early', (client) => void client.end()],
  ['is reset', (client) => void client.resetAndDestroy()],
  ['has an invalid chunk', (client) => void client.write('x\r\n'), true],
])('logs one line when an upload %s', async (_, end, isChunked = false) => {
  const client = await dial();
  const length = isChunked ? 'Transfer-Encoding: chunked' : 'Content-Length: 100';
  client.write(request('POST /', length, 'Expect: 100-continue') + (isChunked ? '' : '{"dryRun"'));
  // The function has received the request when it sends "100 Continue".
  await once(client, 'data');
  end(client);
  expect(await newLines(1)).toEqual([refused('INVALID_REQUEST')]);
});

test.each(['end', 'resetAndDestroy'] as const)(
  'answers and logs once when a client stops an oversized upload with %s',
  async (end) => {
    const client = await dial();
    // The first bytes show that it isn't a push message, whose limit is higher.
    client.write(request('POST /', `Content-Length: ${MIB}`) + 'x'.repeat(64));
    expect(await answer(client)).toEqual({ status: 400, code: 'INVALID_REQUEST' });
    const closed = once(client, 'close');
    client.on('data', () => undefined);
    client[end]();
    await closed;
    expect(await newLines(1)).toEqual([refused('INVALID_REQUEST')]);
  },
);

test('logs nothing when a connection ends without a request', async () => {
  for (const end of ['end', 'resetAndDestroy'] as const) {
    const client = await dial();
    client[end]();
  }
  expect(await newLines(0)).toEqual([]);
});

const withProc = existsSync('/proc/self/status') ? test : test.skip;
withProc('keeps memory flat when large uploads arrive', async () => {
  const peak = (): number => {
    const status = readFileSync(`/proc/${rotator.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  };
  const plain = Buffer.alloc(32 * MIB, ' ');
  const compressed = gzipSync(Buffer.alloc(256 * MIB, ' '));
  const send = async (n: number): Promise<void> => {
    const [isChunked, isCompressed] = [n % 2 === 1, n % 8 === 0];
    const body = isCompressed ? compressed : plain;
    const client = await dial();
    client.write(
      request(
        'POST /',
        'Content-Type: application/json',
        isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`,
        ...(isCompressed ? ['Content-Encoding: gzip'] : []),
      ),
    );
    if (isChunked) client.write(`${body.length.toString(16)}\r\n`);
    // The client sends everything before it reads the answer.
    await new Promise<void>((sent) => client.write(body, () => sent()));
    if (isChunked) client.write('\r\n0\r\n\r\n');
    expect(await answer(client)).toEqual({ status: 400, code: 'INVALID_REQUEST' });
  };
  const before = peak();
  await Promise.all(Array.from({ length: 16 }, (_, n) => send(n)));
  // V8 lets 64 MiB of garbage pile up, and more on a busy machine. Buffered bodies would take 512 MiB.
  expect(peak() - before).toBeLessThan(200);
  expect(await newLines(16)).toEqual(Array(16).fill(refused('INVALID_REQUEST')));
});
