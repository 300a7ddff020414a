/** Why a connection failed, from the codes and texts of Node.js, OpenSSL and grpc-js. */
import { RotationError, type RotationErrorOptions } from './errors';

/** The patterns match Node.js's codes and OpenSSL's texts, because grpc-js passes on only the texts. */
const CERTIFICATE_PROBLEMS: readonly (readonly [known: RegExp, problem: string])[] = [
  [/SELF_SIGNED_CERT|self[- ]signed certificate/, 'it or its authority is self-signed'],
  [
    /UNABLE_TO_VERIFY_LEAF|UNABLE_TO_GET_ISSUER|unable to verify the first|unable to get (local )?issuer/,
    'its authority is unknown',
  ],
  [/CERT_HAS_EXPIRED|certificate has expired/, 'it has expired'],
  [/CERT_NOT_YET_VALID|certificate is not yet valid/, "it isn't valid yet"],
  [/CERT_REVOKED|certificate (has been )?revoked/, 'it was revoked'],
  [/ALTNAME_INVALID|does not match certificate's altnames/, "it doesn't name this host"],
  [/CERT_UNTRUSTED|CERT_REJECTED|INVALID_CA|INVALID_PURPOSE/, 'its authority is refused'],
];

const NETWORK_CODES =
  /\b(ECONNREFUSED|ECONNRESET|ECONNABORTED|EHOSTUNREACH|ENETUNREACH|ENETDOWN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|EPROTO|EACCES|EPERM|EADDRNOTAVAIL)\b|\bHPE_[A-Z_]{3,40}\b|\bERR_SSL_[A-Z_]{3,60}\b/;

/** The known network code in a text, if there is one. A known code can't contain a secret. */
export function networkCode(text: string): string | undefined {
  return text.startsWith('Name resolution failed') ? 'ENOTFOUND' : NETWORK_CODES.exec(text)?.[0];
}

let proxyFailure: string | undefined;

/**
 * The logger for grpc-js, because only a log line shows why a connection through a proxy failed. The logger drops all other
 * lines: they aren't structured, and with GRPC_TRACE they contain the proxy's password.
 */
export const grpcLogger = {
  error(line: unknown): void {
    const text = String(line);
    if (!/^Failed to connect to .*proxy /.test(text)) return;
    const status = / with status (\d{3})$/.exec(text)?.[1];
    proxyFailure = status === undefined ? networkCode(text) : `HTTP status ${status}`;
  },
};

/** How a connection of grpc-js failed, as the end of a sentence that begins with the host. */
export function unreachable(text: string, proxy: string | undefined): string {
  const cause = networkCode(text) ?? (proxy && proxyFailure) ?? 'no connection';
  const way = proxy === undefined ? '' : ` through the proxy ${proxy}`;
  return `couldn't be reached${way} (${cause})`;
}

/** CERTIFICATE_NOT_TRUSTED; undefined if the text describes another failure. */
export function certificateError(
  host: string,
  text: string,
  options?: RotationErrorOptions,
): RotationError | undefined {
  const problem = CERTIFICATE_PROBLEMS.find(([known]) => known.test(text))?.[1];
  if (problem === undefined) return undefined;
  return new RotationError(
    'CERTIFICATE_NOT_TRUSTED',
    {
      problem: `The TLS certificate of ${host} isn't trusted: ${problem}.`,
      action:
        'If a proxy inspects TLS, set NODE_EXTRA_CA_CERTS to the file with its certificate authority. Otherwise find out what answers at this host.',
    },
    options,
  );
}
