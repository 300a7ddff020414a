/** Invalid HTTP requests over raw sockets to the deployed function. */
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
      // No request of these tests is valid, so these are never called.
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

/** The only answer on a connection, which must be JSON. */
async function answer(client: Socket): Promise<{ status: number; code: string }> {
  let heard = '';
  for await (const piece of client.iterator({ destroyOnReturn: false })) {
    heard += String(piece);
    const [head = '', body = ''] = heard.split('\r\n\r\n');
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
    if (body.length < length) continue;
    expect(head).toMatch(/^content-type: application\/json; charset=utf-8$/im);
    const { error } = JSON.parse(body) as { error: { code: string; message: string } };
    return { status: Number(head.split(' ')[1]), code: error.code };
  }
  throw new Error(`the function ended the connection after: ${heard}`);
}

let lines = 0;
/** The lines since this was asked last: as many as expected, and after another request still no more. */
async function newLines(count: number): Promise<Record<string, unknown>[]> {
  // Written after all that went before.
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
  ['a path that cannot be decoded', request('GET /%'), 404],
  ['another path that cannot be decoded', request('POST /%zz', 'Content-Length: 0'), 404],
  ['a whole URL', request('POST http://host:80', 'Content-Length: 1') + '{', 400],
  ['a whole URL with a path', request('GET http://host/%zz'), 404],
  ['no path', request('OPTIONS *'), 404],
  ['an icon', request('GET /favicon.ico'), 404],
  ['a query', request('GET /?x'), 400],
  ['an empty query', request('POST /?', 'Content-Length: 0'), 400],
  ['a query in a whole URL', request('POST http://host?dryRun=true', 'Content-Length: 0'), 400],
  ['a query at another path', request('POST /x?dryRun=true', 'Content-Length: 0'), 404],
  ['a fragment', request('POST /#x', 'Content-Length: 0'), 404],
  ['a path with a space', request('GET /a b'), 400],
  ['an unknown method', request('ROTATE /'), 400],
  ['too many headers', request('GET /', `X: ${'x'.repeat(20_000)}`), 400],
  ['not HTTP', 'rotate, please\r\n\r\n', 400],
  ['a chunk without a length', request('POST /', 'Transfer-Encoding: chunked') + 'x\r\n', 400],
])('answers in JSON and logs one line when the request has %s', async (_, sent, status) => {
  const client = await dial();
  client.write(sent);
  const code = status === 404 ? 'NOT_FOUND' : 'INVALID_REQUEST';
  expect(await answer(client)).toEqual({ status, code });
  expect(await newLines(1)).toEqual([refused(code)]);
});

test('answers in JSON and logs one line when an upload ends too early', async () => {
  const client = await dial();
  client.end(request('POST /', 'Content-Length: 100') + '{"dryRun"');
  expect(await answer(client)).toEqual({ status: 400, code: 'INVALID_REQUEST' });
  expect(await newLines(1)).toEqual([refused('INVALID_REQUEST')]);
});

test('logs one line when an upload is aborted', async () => {
  const client = await dial();
  client.write(request('POST /', 'Content-Length: 100', 'Expect: 100-continue') + '{"dryRun"');
  // The function has the request when it answers with 100 Continue.
  await once(client, 'data');
  client.resetAndDestroy();
  expect(await newLines(1)).toEqual([refused('INVALID_REQUEST')]);
});

test.each(['end', 'resetAndDestroy'] as const)(
  'answers once and logs one line when the client calls %s after a refused upload',
  async (end) => {
    const client = await dial();
    client.write(request('POST /', `Content-Length: ${MIB}`) + 'x');
    expect(await answer(client)).toEqual({ status: 400, code: 'INVALID_REQUEST' });
    let more = '';
    client.on('data', (piece) => (more += String(piece)));
    const closed = once(client, 'close');
    client[end]();
    await closed;
    expect(more).toBe('');
    expect(await newLines(1)).toEqual([refused('INVALID_REQUEST')]);
  },
);

test('logs nothing when a connection has no request', async () => {
  for (const end of ['end', 'resetAndDestroy'] as const) {
    const client = await dial();
    client[end]();
  }
  expect(await newLines(0)).toEqual([]);
});

const withProc = existsSync('/proc/self/status') ? test : test.skip;
withProc('uses no more memory when large uploads arrive', async () => {
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
    // All is sent before the answer is read.
    await new Promise<void>((sent) => client.write(body, () => sent()));
    if (isChunked) client.write('\r\n0\r\n\r\n');
    expect(await answer(client)).toEqual({ status: 400, code: 'INVALID_REQUEST' });
  };
  const before = peak();
  await Promise.all(Array.from({ length: 16 }, (_, n) => send(n)));
  // V8 collects the 512 MiB late: 64 MiB of garbage pile up, and more on a busy machine.
  expect(peak() - before).toBeLessThan(200);
  expect(await newLines(16)).toEqual(Array(16).fill(refused('INVALID_REQUEST')));
});
