/**
 * One rule about proxies for all connections: `https_proxy` and `no_proxy`, in lower case first, then in upper case.
 * Libraries have other rules. grpc-js reads lower case only, and also `grpc_proxy` and `http_proxy`. gaxios prefers upper case.
 */
import http from 'node:http';
import https from 'node:https';

/** Hosts that are never called through a proxy. gcp-metadata also calls the metadata server with a final dot. */
const DIRECT = [
  'localhost',
  '127.0.0.1',
  '::1',
  '[::1]',
  '169.254.169.254',
  'metadata.google.internal',
  'metadata.google.internal.',
];

/** All proxy variables that grpc-js, gaxios or Node.js might read. */
const VARIABLES = ['https_proxy', 'http_proxy', 'grpc_proxy', 'no_proxy', 'no_grpc_proxy'];

/** The problem with the proxy settings; undefined if they are valid. The value isn't quoted, because it can contain a password. */
export function proxyProblem(env: NodeJS.ProcessEnv): string | undefined {
  const name = env.https_proxy === undefined ? 'HTTPS_PROXY' : 'https_proxy';
  const value = read(env, 'https_proxy');
  if (value === '') return undefined;
  try {
    const { protocol, pathname, search, hash } = new URL(withScheme(value));
    if (protocol === 'http:' && pathname === '/' && search === '' && hash === '') return undefined;
  } catch {
    // A text that isn't a URL is reported like any other invalid value.
  }
  return `${name} must be the URL of an HTTP proxy, such as http://proxy.example.com:3128`;
}

/** The proxy's URL for connections to a host; undefined for a direct connection. */
export function proxyFor(host: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const proxy = read(env, 'https_proxy');
  const name = host.toLowerCase();
  const direct = [...DIRECT, ...noProxy(env)];
  const isDirect = direct.some((entry) => entry === '*' || entry === name || isBelow(name, entry));
  return proxy === '' || isDirect ? undefined : withScheme(proxy);
}

/**
 * Rewrites the environment so that every library follows the rule. Call it before any client exists.
 *
 * An entry of `no_proxy` matches a host and its subdomains. grpc-js would also let `b.c` match `ab.c`. gaxios needs an
 * entry with a leading dot for subdomains. Entries with address ranges are dropped, because the rotator calls hosts by name,
 * except hosts that it always calls directly.
 */
export function normalizeProxyEnvironment(env: NodeJS.ProcessEnv = process.env): void {
  const proxy = proxyFor('', env);
  const names = noProxy(env).filter((name) => !DIRECT.includes(name));
  const entries = [...DIRECT, ...names.flatMap((name) => [name, `.${name}`])];
  for (const name of VARIABLES) {
    Reflect.deleteProperty(env, name);
    Reflect.deleteProperty(env, name.toUpperCase());
  }
  env.no_proxy = [...new Set(entries)].join(',');
  if (proxy !== undefined) env.https_proxy = proxy;
  if (env === process.env) {
    // With NODE_USE_ENV_PROXY, Node's global agents use the proxy variables as they were when the process started. The new
    // agents use no proxy, and have Node's default options.
    http.globalAgent = new http.Agent({ keepAlive: true, timeout: 5_000 });
    https.globalAgent = new https.Agent({ keepAlive: true, timeout: 5_000 });
  }
}

/** The names in `no_proxy`, without what libraries read differently: a leading `*.` or dot, port 443 and address ranges. */
function noProxy(env: NodeJS.ProcessEnv): string[] {
  return read(env, 'no_proxy')
    .toLowerCase()
    .split(/[\s,]+/)
    .map((entry) => entry.replace(/^\*?\./, '').replace(/:443$/, ''))
    .filter((entry) => entry !== '' && !entry.includes('/'));
}

function read(env: NodeJS.ProcessEnv, name: string): string {
  return (env[name] ?? env[name.toUpperCase()] ?? '').trim();
}

function withScheme(proxy: string): string {
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

function isBelow(name: string, parent: string): boolean {
  return name.endsWith(`.${parent}`);
}
