import { mapProxyName } from '@grpc/grpc-js/build/src/http_proxy';
import { parseUri } from '@grpc/grpc-js/build/src/uri-parser';
import { normalizeProxyEnvironment, proxyFor, proxyProblem } from '../../src/proxy';

const PROXY = 'http://proxy.example.com:3128';

const HOSTS = [
  'secretmanager.googleapis.com',
  'secretmanager.europe-west6.rep.googleapis.com',
  'oauth2.googleapis.com',
  'mga.registry.prod.a.momentohq.com',
  'cache.cell-4-us-west-2-1.prod.a.momentohq.com',
];

const LOCAL = ['localhost', '127.0.0.1', '169.254.169.254', 'metadata.google.internal'];

describe.each<[string, Record<string, string>, readonly string[]]>([
  ['no_proxy is unset', { https_proxy: PROXY }, HOSTS],
  ['https_proxy is in upper case', { HTTPS_PROXY: PROXY }, HOSTS],
  ['https_proxy has no scheme', { https_proxy: ' proxy.example.com:3128' }, HOSTS],
  ['no_proxy is empty', { https_proxy: PROXY, no_proxy: '' }, HOSTS],
  ['no_proxy has empty entries', { https_proxy: PROXY, no_proxy: ', ,' }, HOSTS],
  ['no_proxy names a domain', { https_proxy: PROXY, no_proxy: 'googleapis.com' }, HOSTS.slice(3)],
  ['no_proxy has a dot', { https_proxy: PROXY, no_proxy: ' .GoogleAPIs.com ' }, HOSTS.slice(3)],
  [
    'no_proxy has an asterisk',
    { https_proxy: PROXY, NO_PROXY: '*.googleapis.com' },
    HOSTS.slice(3),
  ],
  ['no_proxy has a port', { https_proxy: PROXY, no_proxy: `${HOSTS[0]}:443` }, HOSTS.slice(1)],
  ['no_proxy has other entries', { https_proxy: PROXY, no_proxy: '10.0.0.0/8,x:80' }, HOSTS],
  ['no_proxy is an asterisk', { https_proxy: PROXY, no_proxy: 'x,*' }, []],
  ['there is no proxy', { no_proxy: 'x' }, []],
  ['only other variables are set', { http_proxy: PROXY, grpc_proxy: PROXY, all_proxy: PROXY }, []],
  ['https_proxy is empty', { https_proxy: '', HTTPS_PROXY: PROXY }, []],
  ['no_grpc_proxy is set', { https_proxy: PROXY, no_grpc_proxy: 'googleapis.com' }, HOSTS],
])('when %s', (_, variables, proxied) => {
  const expected = HOSTS.map((host) => (proxied.includes(host) ? 'proxied' : 'direct'));

  test('proxyFor follows the rule', () => {
    const decided = HOSTS.map((host) => proxyFor(host, variables));
    expect(decided).toEqual(HOSTS.map((host) => (proxied.includes(host) ? PROXY : undefined)));
    expect(LOCAL.map((host) => proxyFor(host, variables))).toEqual(LOCAL.map(() => undefined));
  });

  test('proxyFor returns the same after the environment is normalized once or twice', () => {
    const env: NodeJS.ProcessEnv = { ...variables };
    normalizeProxyEnvironment(env);
    const once = { ...env };
    expect(HOSTS.map((host) => (proxyFor(host, env) ? 'proxied' : 'direct'))).toEqual(expected);
    normalizeProxyEnvironment(env);
    expect(env).toEqual(once);
  });

  test('grpc-js follows the rule', () => {
    const before = process.env;
    process.env = { ...variables };
    try {
      normalizeProxyEnvironment(process.env);
      expect(HOSTS.map(throughGrpc)).toEqual(expected);
      expect(LOCAL.map(throughGrpc)).toEqual(LOCAL.map(() => 'direct'));
    } finally {
      process.env = before;
    }
  });
});

function throughGrpc(host: string): string {
  const target = parseUri(`dns:${host}:443`);
  if (target === null) throw new Error(`not a target: ${host}`);
  const { extraOptions } = mapProxyName(target, {});
  return 'grpc.http_connect_target' in extraOptions ? 'proxied' : 'direct';
}

test('removes every variable that a library might read differently', () => {
  const names = ['https_proxy', 'http_proxy', 'grpc_proxy', 'no_proxy', 'no_grpc_proxy'];
  const env: NodeJS.ProcessEnv = Object.fromEntries(
    names.flatMap((name) => [
      [name, 'proxy.example.com'],
      [name.toUpperCase(), 'other.example.com'],
    ]),
  );
  normalizeProxyEnvironment(env);
  expect(Object.keys(env).toSorted()).toEqual(['https_proxy', 'no_proxy']);
  expect(env.https_proxy).toBe('http://proxy.example.com');
});

test('exempts loopback and the metadata server by all their names', () => {
  const env: NodeJS.ProcessEnv = { no_proxy: 'x' };
  normalizeProxyEnvironment(env);
  expect(env.no_proxy?.split(',')).toEqual([
    ...['localhost', '127.0.0.1', '::1', '[::1]'],
    ...['169.254.169.254', 'metadata.google.internal', 'metadata.google.internal.'],
    ...['x', '.x'],
  ]);
});

test.each([
  [{}, undefined],
  [{ https_proxy: '' }, undefined],
  [{ https_proxy: PROXY }, undefined],
  [{ https_proxy: 'http://user:pass@proxy:3128/' }, undefined],
  [{ HTTPS_PROXY: 'proxy:3128' }, undefined],
  [{ https_proxy: 'https://user:hidden@proxy' }, 'https_proxy'],
  [{ HTTPS_PROXY: 'socks5://user:hidden@proxy' }, 'HTTPS_PROXY'],
  [{ https_proxy: 'http://' }, 'https_proxy'],
  [{ https_proxy: 'http://proxy/hidden' }, 'https_proxy'],
  [{ https_proxy: 'hidden proxy' }, 'https_proxy'],
])('reports the variable that is invalid in %j', (env, name) => {
  const expected =
    name && `${name} must be the URL of an HTTP proxy, such as http://proxy.example.com:3128`;
  expect(proxyProblem(env)).toBe(expected);
});
