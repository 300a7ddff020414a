import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { connect, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { once } from 'node:events';
import { selfSigned } from '../certificate';
import { ConnectProxy } from '../connect-proxy';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { freePort } from '../server-process';
import { StoreProcess, type Result } from '../store-process';
import { systemClock } from '../../src/clock';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { parseSecretName } from '../../src/secret-name';

const SECRET = 'projects/p/secrets/s';
const REGIONAL = 'projects/p/locations/eu/secrets/s';
/** A domain without servers, so that a direct connection fails wherever this test runs. */
const DOMAIN = 'cloud.invalid';
const HOST = `secretmanager.${DOMAIN}`;
const REGIONAL_HOST = `secretmanager.eu.rep.${DOMAIN}`;
const TOKEN_HOST = `sts.${DOMAIN}`;

let folder: string;
let emulator: SecretManagerEmulator;
let servers: Server[];
let routes: Record<string, number>;
let proxy: ConnectProxy;
let proxyHost: string;
/** With what the client trusts the servers and authenticates itself. */
let credentials: Record<string, string>;
let processes: StoreProcess[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'proxy-'));
  emulator = await SecretManagerEmulator.start();
  for (const name of [SECRET, REGIONAL]) {
    emulator.createSecret(name);
    emulator.addVersion(name, 'payload');
  }
  const { cert, key } = selfSigned([HOST, REGIONAL_HOST, TOKEN_HOST]);
  const [host = '', port] = emulator.host.split(':');
  const tls = createTlsServer({ cert, key, ALPNProtocols: ['h2'] }, (socket) => {
    const plain = connect(Number(port), host);
    socket.pipe(plain).pipe(socket);
    for (const end of [socket, plain]) end.on('error', () => end.destroy());
  });
  const tokens = createHttpsServer({ cert, key }, (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ access_token: 'token', expires_in: 3600 }));
  });
  servers = [tls, tokens];
  await Promise.all(servers.map((server) => once(server.listen(0, '127.0.0.1'), 'listening')));
  const [tlsPort, tokenPort] = servers.map((server) => (server.address() as AddressInfo).port);
  routes = {
    [HOST]: tlsPort ?? 0,
    [REGIONAL_HOST]: tlsPort ?? 0,
    [TOKEN_HOST]: tokenPort ?? 0,
  };
  credentials = {
    NODE_EXTRA_CA_CERTS: join(folder, 'authority.pem'),
    GOOGLE_APPLICATION_CREDENTIALS: join(folder, 'login.json'),
    GOOGLE_CLOUD_UNIVERSE_DOMAIN: DOMAIN,
  };
  await writeFile(join(folder, 'authority.pem'), cert);
  const login = {
    type: 'external_account_authorized_user',
    audience: `//iam.${DOMAIN}/locations/global/workforcePools/pool/providers/provider`,
    client_id: 'client',
    client_secret: 'secret',
    refresh_token: 'token',
    token_url: `https://${TOKEN_HOST}/token`,
    universe_domain: DOMAIN,
  };
  await writeFile(join(folder, 'login.json'), JSON.stringify(login));
});

afterAll(async () => {
  for (const server of servers) server.close();
  await emulator.stop();
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  processes = [];
  proxy = new ConnectProxy(routes);
  proxyHost = await proxy.listen();
});

afterEach(() => {
  for (const process of processes) process.stop();
  proxy.stop();
});

async function access(
  env: Readonly<Record<string, string>>,
  secrets: readonly string[] = [SECRET],
): Promise<Result[]> {
  const started = new StoreProcess(env);
  processes.push(started);
  const results = await started.access(...secrets);
  // The libraries write nothing of their own.
  expect(started.output).toBe('');
  return results;
}

describe('the way to Secret Manager and to the token endpoint', () => {
  // A unit test has all rules about the variables.
  it('leads through the proxy in https_proxy rather than any other variable, with its credentials', async () => {
    const env = {
      ...credentials,
      https_proxy: `http://user:pass%2Fword@${proxyHost}`,
      HTTPS_PROXY: 'http://proxy.invalid',
      grpc_proxy: 'http://proxy.invalid',
      http_proxy: 'http://proxy.invalid',
      HTTP_PROXY: 'http://proxy.invalid',
      no_grpc_proxy: DOMAIN,
      NO_PROXY: DOMAIN,
      no_proxy: 'other.invalid, ,',
    };
    const results = await access(env, [SECRET, REGIONAL]);
    expect(results).toEqual([{ kind: 'payload' }, { kind: 'payload' }]);
    expect(new Set(proxy.asked)).toEqual(
      new Set([`${HOST}:443`, `${REGIONAL_HOST}:443`, `${TOKEN_HOST}:443`]),
    );
    const sent = `Basic ${Buffer.from('user:pass/word').toString('base64')}`;
    expect(new Set(proxy.credentials)).toEqual(new Set([sent]));
  });

  it.each([
    ['Secret Manager', HOST, [`${TOKEN_HOST}:443`]],
    ['the token endpoint', TOKEN_HOST, []],
  ])('leaves out the proxy when no_proxy names %s', async (_, no_proxy, asked) => {
    const env = { ...credentials, https_proxy: `http://${proxyHost}`, no_proxy };
    const [result] = await access(env);
    expect(result?.problem).toMatch(/couldn't be reached \(ENOTFOUND\)|\(EAI_AGAIN\)/);
    expect([...new Set(proxy.asked)]).toEqual(asked);
  });

  it('names the proxy and its answer when the proxy refuses the connection', async () => {
    const env = { ...(await withMetadataServer()), https_proxy: `http://u:pw@${proxyHost}` };
    proxy.refusal = 403;
    expect(await access(env)).toMatchObject([
      {
        code: 'SECRET_MANAGER_UNAVAILABLE',
        problem: `Secret Manager (${HOST}) couldn't be reached through the proxy ${proxyHost} (HTTP status 403).`,
        retryable: true,
        outcomeUnknown: false,
      },
    ]);
  });

  it('names the proxy and the cause when the proxy does not answer', async () => {
    const gone = `127.0.0.1:${await freePort()}`;
    const env = { ...(await withMetadataServer()), https_proxy: `http://${gone}` };
    expect(await access(env)).toMatchObject([
      {
        code: 'SECRET_MANAGER_UNAVAILABLE',
        problem: `Secret Manager (${HOST}) couldn't be reached through the proxy ${gone} (ECONNREFUSED).`,
        action: `Check that the function can reach the proxy ${gone}, and that it admits ${HOST}.`,
      },
    ]);
  });

  it("names the host when its certificate isn't trusted", async () => {
    const env = { NODE_EXTRA_CA_CERTS: '', https_proxy: `http://${proxyHost}` };
    const untrusted = (host: string): object => ({
      code: 'CERTIFICATE_NOT_TRUSTED',
      problem: `The TLS certificate of ${host} isn't trusted: it or its authority is self-signed.`,
      retryable: false,
    });
    expect(await access({ ...credentials, ...env })).toMatchObject([untrusted(TOKEN_HOST)]);
    const onGoogleCloud = { ...(await withMetadataServer()), ...env };
    expect(await access(onGoogleCloud)).toMatchObject([untrusted(HOST)]);
  });
});

/** The environment of a client that gets its token from a metadata server, to which no proxy leads. */
async function withMetadataServer(): Promise<Record<string, string>> {
  const server = createHttpServer(({ url = '' }, response) => {
    response.writeHead(200, { 'metadata-flavor': 'Google', 'content-type': 'application/json' });
    const token = { access_token: 'token', expires_in: 3600, token_type: 'Bearer' };
    response.end(url.includes('universe') ? DOMAIN : JSON.stringify(token));
  });
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { ...credentials, GOOGLE_APPLICATION_CREDENTIALS: '', GCE_METADATA_HOST: host };
}

describe('an emulator', () => {
  it('is never reached through a proxy by the function', async () => {
    const env = {
      SECRET_MANAGER_EMULATOR_HOST: emulator.host,
      https_proxy: `http://${proxyHost}`,
      HTTPS_PROXY: `http://${proxyHost}`,
      http_proxy: `http://${proxyHost}`,
      grpc_proxy: `http://${proxyHost}`,
      no_proxy: '',
    };
    expect(await access(env)).toEqual([{ kind: 'payload' }]);
    expect(proxy.asked).toEqual([]);
  });

  it('is never reached through a proxy by the client alone', async () => {
    const variables = { grpc_proxy: `http://${proxyHost}`, no_proxy: '' };
    const before = { ...process.env };
    Object.assign(process.env, variables);
    try {
      const store = new SecretManagerStore({ emulator: emulator.host, clock: systemClock });
      const secret = parseSecretName(SECRET);
      if (secret === undefined) throw new Error('not a name');
      const limits = { deadline: Infinity };
      expect(await store.access(secret, 'latest', limits)).toMatchObject({ kind: 'payload' });
      expect(proxy.asked).toEqual([]);
    } finally {
      for (const name of Object.keys(variables)) Reflect.deleteProperty(process.env, name);
      Object.assign(process.env, before);
    }
  });
});
