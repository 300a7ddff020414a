/** Environment variables that the function and the tools share, and unsafe variables that stop the function. */

export type Environment = Readonly<Record<string, string | undefined>>;

/** The addresses of the services that the function calls. */
export interface Services {
  readonly momento: MomentoConfig;
  /** `host:port` of an emulator of Secret Manager. */
  readonly secretManagerEmulator?: string | undefined;
}

interface MomentoConfig {
  /** The host that verifies a v2 key if its payload contains no host. */
  readonly endpoint?: string | undefined;
  /** The path at which a v2 key is refreshed. */
  readonly refreshPath?: string | undefined;
  /** `host:port` of emulators of Momento's gRPC and HTTP APIs. */
  readonly emulator?: string | undefined;
  readonly keyApiEmulator?: string | undefined;
}

/** Reads one variable. An invalid value becomes the problem `NAME must be EXPECTED`. */
export type Read = <T>(
  name: string,
  parse: (text: string) => T | undefined,
  expected: string,
) => T | undefined;

const LOOPBACK = 'host:port on the loopback interface, such as localhost:8085';

/**
 * An empty variable counts as unset.
 *
 * @param problems gets a sentence without a period for each invalid value. The sentences don't quote the value, because it
 *   could be a secret in the wrong variable
 */
export function reader(env: Environment, problems: string[]): Read {
  return (name, parse, expected) => {
    const text = env[name]?.trim();
    if (text === undefined || text === '') return undefined;
    const value = parse(text);
    if (value === undefined) problems.push(`${name} must be ${expected}`);
    return value;
  };
}

export function readServices(read: Read): Services {
  return {
    momento: {
      endpoint: read(
        'MOMENTO_ENDPOINT',
        parseEndpoint,
        'a host such as cell-4-us-west-2-1.prod.a.momentohq.com, without a prefix (cache., control. or token.), a scheme, a port or a path',
      ),
      refreshPath: read('MOMENTO_REFRESH_PATH', parsePath, 'a path such as /api-keys/refresh'),
      emulator: read('MOMENTO_EMULATOR_HOST', parseLoopback, LOOPBACK),
      keyApiEmulator: read('MOMENTO_KEY_API_EMULATOR_HOST', parseLoopback, LOOPBACK),
    },
    secretManagerEmulator: read('SECRET_MANAGER_EMULATOR_HOST', parseLoopback, LOOPBACK),
  };
}

// The SDK adds the prefixes `cache.`, `control.` and `token.`. With two prefixes, the host doesn't exist.
function parseEndpoint(text: string): string | undefined {
  const isHost = /^(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$/i.test(text);
  return isHost && !/^(cache|control|token)\./i.test(text) ? text : undefined;
}

function parsePath(text: string): string | undefined {
  return /^(\/(?!\.\.?(\/|$))[\w.~:@-]+)+$/.test(text) ? text : undefined;
}

function parseLoopback(text: string): string | undefined {
  const [, host = '', port] =
    /^(localhost|127(?:\.\d{1,3}){3}|\[::1\]):(\d{1,5})$/.exec(text) ?? [];
  return Number(port) > 0 && Number(port) < 65536 ? `${host}:${port ?? ''}` : undefined;
}

interface Setting {
  readonly name: string;
  readonly isUnsafe: (value: string) => boolean;
  /** Follows the name in the error message. */
  readonly problem: string;
}

// The sections of NODE_DEBUG that print no secret. An allowlist, because each version of Node.js can add sections. The
// list contains no patterns such as `htt*`.
const HARMLESS_NODE_DEBUG = ['esm', 'http2', 'module', 'source_map', 'timer', 'tls', 'worker'];

// These settings print secrets: the output of the built function was searched for them, also as decimal, hex and base64
// bytes. Libraries read the settings before the function starts, so deleting the variables would have no effect.
/** Settings of Node.js and of libraries with which the function refuses to start, because they would expose secrets. */
const SETTINGS: readonly Setting[] = [
  {
    name: 'GOOGLE_SDK_NODE_LOGGING',
    isUnsafe: () => true,
    problem: 'must be unset, because it logs payloads and access tokens',
  },
  {
    name: 'NODE_DEBUG',
    isUnsafe: (value) =>
      !value.split(',').every((part) => HARMLESS_NODE_DEBUG.includes(part.trim().toLowerCase())),
    problem: `must contain only ${HARMLESS_NODE_DEBUG.join(', ')}, because other sections log keys`,
  },
  // The trace of a connection through a proxy shows the proxy's password.
  ...['GRPC_TRACE', 'GRPC_NODE_TRACE'].map((name) => ({
    name,
    isUnsafe: () => true,
    problem: "must be unset, because it logs the proxy's password",
  })),
  {
    name: 'DEBUG',
    isUnsafe: (value) => /\*|https-proxy-agent/.test(value),
    problem: "must not match https-proxy-agent, because that logs the proxy's password",
  },
  {
    name: 'NODE_OPTIONS',
    isUnsafe: (value) => /--tls[-_]keylog/.test(value),
    problem:
      'must not contain --tls-keylog, because it writes the keys of encrypted connections to a file',
  },
  {
    name: 'NODE_TLS_REJECT_UNAUTHORIZED',
    isUnsafe: (value) => value === '0',
    problem:
      'must not be 0, because anybody on the network could then read the keys. NODE_EXTRA_CA_CERTS adds certificate authorities',
  },
];

/** The names of the variables that are checked and have no other effect on the function. */
export const CHECKED_SETTINGS: readonly string[] = SETTINGS.map(({ name }) => name);

/** A sentence without a period for each setting that would expose secrets. */
export function unsafeSettings(env: Environment): string[] {
  return SETTINGS.filter(({ name, isUnsafe }) => {
    const value = env[name]?.trim() ?? '';
    return value !== '' && isUnsafe(value);
  }).map(({ name, problem }) => `${name} ${problem}`);
}
