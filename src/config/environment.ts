/** Settings of Node.js and of libraries with which the function refuses to start, because they would expose secrets. */
import type { Environment } from './variables';

interface Setting {
  readonly name: string;
  readonly isUnsafe: (value: string) => boolean;
  /** Follows the name in the error message. */
  readonly problem: string;
}

// The sections of NODE_DEBUG that print no secret. An allowlist, because each version of Node.js can add sections. A
// pattern such as `htt*` is in no list.
const HARMLESS_NODE_DEBUG = ['esm', 'http2', 'module', 'source_map', 'timer', 'tls', 'worker'];

// Measured with the built function: a search of its output for secrets, also as decimal, hex and base64 bytes. Libraries read
// these variables before the function starts, so deleting them would have no effect.
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
      'must not be 0, because others could then read the keys in transit. NODE_EXTRA_CA_CERTS adds certificate authorities',
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
