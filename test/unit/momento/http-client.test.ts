/** Certificates and proxies of the key API. Limits and answers are tested with the key API itself. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, promisify } from 'node:util';
import { systemClock } from '../../../src/clock';
import { toRotationError, type RotationError } from '../../../src/errors';
import { HttpClient } from '../../../src/momento/http-client';
import { selfSigned } from '../../certificate';
import { ConnectProxy } from '../../connect-proxy';
import { piecesIn } from '../support';
import { limits, SECRET, v2Key } from './support';

const HOST = 'keys.example.com';
const OTHER_HOST = 'other.example.com';
const AUTHORITY = selfSigned([HOST, 'localhost']);
const REVOCATION = {
  method: 'DELETE',
  path: '/api-keys/key-1',
  authorization: v2Key('management'),
} as const;

/** The server cuts the connection when it has this request. */
const CUT = '/cut';

let server: Server;
let port: number;
let received: string[];
let proxy: ConnectProxy;
let proxyHost: string;
let folder: string;
/** The file with the certificate authority of the server. */
let authority: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'http-client-'));
  authority = join(folder, 'authority.pem');
  await writeFile(authority, AUTHORITY.cert);
  server = createServer(AUTHORITY, ({ url = '' }, response) => {
    received.push(url);
    if (url === CUT) response.destroy();
    else response.end('{}');
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  received = [];
  proxy = new ConnectProxy({ [HOST]: port, [OTHER_HOST]: port });
  proxyHost = await proxy.listen();
});

afterEach(() => {
  proxy.stop();
  delete process.env.https_proxy;
  delete process.env.no_proxy;
});

async function failure(address: string): Promise<RotationError> {
  const client = new HttpClient(new URL(address), { clock: systemClock });
  try {
    const thrown: unknown = await client
      .send(REVOCATION, limits())
      .catch((error: unknown) => error);
    expect(piecesIn(inspect(thrown, { depth: null, showHidden: true }), SECRET)).toEqual([]);
    return toRotationError(thrown);
  } finally {
    client.close();
  }
}

/** What a client in a process of its own prints: Node.js reads some variables only when it starts. */
async function inProcess(
  address: string,
  env: NodeJS.ProcessEnv,
  path: string = REVOCATION.path,
): Promise<string> {
  const send = `
    import { systemClock } from './src/clock';
    import { HttpClient } from './src/momento/http-client';
    const client = new HttpClient(new URL('${address}'), { clock: systemClock });
    const limits = { deadline: systemClock.monotonic() + 20_000 };
    client
      .send(${JSON.stringify({ ...REVOCATION, path })}, limits)
      .then(
        ({ status }) => console.log(status),
        ({ code, outcomeUnknown }) => console.log(code, outcomeUnknown),
      )
      .finally(() => client.close());
  `;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '--eval', send],
    { env: { ...process.env, ...env } },
  );
  return stdout.trim();
}

describe('a server whose certificate is not trusted', () => {
  test('gets nothing, and the error names its host and the remedy', async () => {
    const error = await failure(`https://localhost:${port}`);
    expect(error).toMatchObject({
      code: 'CERTIFICATE_NOT_TRUSTED',
      retryable: false,
      outcomeUnknown: false,
    });
    expect(error.problem).toContain(`localhost:${port}`);
    expect(error.problem).toContain('self-signed');
    expect(error.action).toContain('NODE_EXTRA_CA_CERTS');
    expect(received).toEqual([]);
  });

  test('gets nothing through a proxy either', async () => {
    process.env.https_proxy = `http://${proxyHost}`;
    const error = await failure(`https://${HOST}`);
    expect(error).toMatchObject({ code: 'CERTIFICATE_NOT_TRUSTED', outcomeUnknown: false });
    expect(error.problem).toContain(HOST);
    expect(proxy.asked).toEqual([`${HOST}:443`]);
    expect(received).toEqual([]);
  });

  test('gets nothing if the environment turns the check off', async () => {
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: '0' };
    expect(await inProcess(`https://localhost:${port}`, env)).toBe('CERTIFICATE_NOT_TRUSTED false');
    const proxied = { ...env, https_proxy: `http://${proxyHost}` };
    expect(await inProcess(`https://${HOST}`, proxied)).toBe('CERTIFICATE_NOT_TRUSTED false');
    expect(received).toEqual([]);
  });
});

describe('a certificate authority of NODE_EXTRA_CA_CERTS', () => {
  const trusting = () => ({ NODE_EXTRA_CA_CERTS: authority });

  test('is trusted', async () => {
    expect(await inProcess(`https://localhost:${port}`, trusting())).toBe('200');
    expect(received).toEqual([REVOCATION.path]);
  });

  test('is trusted through a proxy, for the hosts that the certificate names', async () => {
    const env = { ...trusting(), https_proxy: `http://${proxyHost}` };
    expect(await inProcess(`https://${HOST}`, env)).toBe('200');
    expect(received).toEqual([REVOCATION.path]);
    expect(await inProcess(`https://${OTHER_HOST}`, env)).toBe('CERTIFICATE_NOT_TRUSTED false');
    expect(received).toHaveLength(1);
  });

  test('leaves the outcome unknown when the connection through a proxy is cut', async () => {
    const env = { ...trusting(), https_proxy: `http://${proxyHost}` };
    expect(await inProcess(`https://${HOST}`, env, CUT)).toBe('MOMENTO_UNAVAILABLE true');
    expect(received).toEqual([CUT]);
  });
});

describe('a proxy', () => {
  test.each([403, 407, 502])('that refuses with %d is named, and nothing was sent', async (n) => {
    proxy.refusal = n;
    process.env.https_proxy = `http://${proxyHost}`;
    const error = await failure(`https://${HOST}`);
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: false });
    expect(error.problem).toBe(`The proxy ${proxyHost} refused the connection (HTTP ${n}).`);
  });

  test('that cannot be reached is named, and nothing was sent', async () => {
    process.env.https_proxy = 'http://127.0.0.1:1';
    const error = await failure(`https://${HOST}`);
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: false });
    expect(error.problem).toBe("The proxy 127.0.0.1:1 couldn't be reached (ECONNREFUSED).");
  });

  test('that closes the connection is named without its password', async () => {
    const closing = createTcpServer((socket) => socket.end());
    await new Promise<void>((resolve) => closing.listen(0, '127.0.0.1', resolve));
    const host = `127.0.0.1:${(closing.address() as AddressInfo).port}`;
    process.env.https_proxy = `http://user:${SECRET}@${host}`;
    const error = await failure(`https://${HOST}`);
    closing.close();
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: false });
    expect(error.problem).toContain(`The proxy ${host} couldn't be reached`);
  });

  test('is left out for the hosts of no_proxy, and for emulators', async () => {
    process.env.https_proxy = `http://${proxyHost}`;
    process.env.no_proxy = 'invalid';
    expect((await failure('https://keys.invalid')).problem).toContain("keys.invalid couldn't be");
    expect((await failure('http://emulator.example.invalid:1')).problem).toContain('emulator.');
    expect(proxy.asked).toEqual([]);
  });
});
