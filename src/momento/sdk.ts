/** Calls through Momento's SDK. Its log is off, because the function writes only structured lines. */
import {
  AuthClient,
  AuthClientConfigurations,
  CacheClient,
  Configurations,
  CredentialProvider,
  ListCaches,
  MomentoErrorCode,
  NoopMomentoLoggerFactory,
  type RefreshApiKey,
} from '@gomomento/sdk';
import { withDeadline, type Clock } from '../clock';
import { ConcurrencyLimiter } from '../concurrency';
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import { proxyFor } from '../proxy';
import { ISSUE_TIMEOUT, type CallLimits, type KeyCheck } from '../rotation/ports';
import type { Credential } from './credential';
import { connectionFailed, unavailable } from './errors';
import { InvalidPayload } from './payload';

const NO_LOG = new NoopMomentoLoggerFactory();

/** How long the verification of a key can take. */
const CHECK_TIMEOUT = 10 * SECOND;
/** How many calls to one host can be in progress. Each call opens a connection. A silent host doesn't delay other hosts. */
const MAX_CALLS = 24;

/** An error response of the SDK. */
interface SdkError {
  errorCode(): MomentoErrorCode;
  innerException(): Error;
}

/** A client of the SDK has one key and its own connection, so each call creates a client and closes it. */
export class Sdk {
  readonly #clock: Clock;
  readonly #emulator: string | undefined;
  readonly #calls = new Map<string, ConcurrencyLimiter>();

  /** @param emulator `host:port` of an emulator in place of Momento */
  constructor(clock: Clock, emulator: string | undefined) {
    this.#clock = clock;
    this.#emulator = emulator;
  }

  /** The host of a key. v1 and legacy keys contain their host, so only v2 keys need `endpoint`. */
  host(credential: Credential, endpoint = ''): string {
    return this.#provider(credential, endpoint).getControlEndpoint();
  }

  /**
   * Verifies a key by listing caches, the cheapest call that Momento authenticates. A permission error also shows that
   * Momento accepts the key.
   *
   * @param endpoint the host to use a v2 key with
   */
  async check(
    credential: Credential,
    endpoint: string,
    { deadline }: CallLimits,
  ): Promise<KeyCheck> {
    const host = this.host(credential, endpoint);
    return this.#callsTo(host).run(deadline, async () => {
      const client = this.cacheClient(credential, endpoint);
      const abort = new AbortController();
      const until = Math.min(deadline, this.#clock.monotonic() + CHECK_TIMEOUT);
      try {
        return await withDeadline<KeyCheck>(
          this.#clock,
          until,
          client.listCaches({ abortSignal: abort.signal }).then((answer) => {
            return answer instanceof ListCaches.Error
              ? keyCheckOf(credential, host, answer)
              : { verdict: 'accepted' };
          }),
          () => ({ verdict: 'inconclusive', problem: `${host} didn't answer in time` }),
        );
      } finally {
        abort.abort();
        closeCacheClient(client);
      }
    });
  }

  /** Refreshes a v1 or legacy key. */
  async refresh(credential: Credential, { deadline }: CallLimits): Promise<RefreshApiKey.Response> {
    const host = this.host(credential);
    return this.#callsTo(host).run(deadline, async () => {
      const client = this.authClient(credential);
      // `deadline` limits only the start of the call.
      const until = this.#clock.monotonic() + ISSUE_TIMEOUT;
      try {
        return await withDeadline(
          this.#clock,
          until,
          client.refreshApiKey(credential.refreshToken ?? ''),
          () => {
            throw unavailable(host, "didn't answer the refresh in time", { outcomeUnknown: true });
          },
        );
      } finally {
        closeAuthClient(client);
      }
    });
  }

  /** @param credential a v1 or legacy key: the SDK doesn't refresh v2 keys */
  authClient(credential: Credential): AuthClient {
    return new AuthClient({
      credentialProvider: this.#provider(credential, ''),
      configuration: AuthClientConfigurations.Default.latest(NO_LOG),
    });
  }

  /** @param endpoint the host to use a v2 key with */
  cacheClient(credential: Credential, endpoint: string): CacheClient {
    return new CacheClient({
      credentialProvider: this.#provider(credential, endpoint),
      configuration: Configurations.Lambda.latest(NO_LOG),
      defaultTtlSeconds: 60,
    });
  }

  #callsTo(host: string): ConcurrencyLimiter {
    const calls = this.#calls.get(host) ?? new ConcurrencyLimiter(this.#clock, MAX_CALLS, host);
    this.#calls.set(host, calls);
    return calls;
  }

  /** Discards the SDK's errors, because some quote parts of the key. */
  #provider(credential: Credential, endpoint: string): CredentialProvider {
    const { apiKey, kind } = credential;
    try {
      if (kind === 'v2' && this.#emulator === undefined) {
        return CredentialProvider.fromApiKeyV2({ apiKey, endpoint });
      }
      const endpointOverrides = this.#emulator === undefined ? undefined : only(this.#emulator);
      if (kind !== 'v2') {
        // `fromDisposableToken` reads v1 and legacy keys like the deprecated `fromString`: both make the same object.
        return CredentialProvider.fromDisposableToken({
          apiKey,
          ...(endpointOverrides && { endpointOverrides }),
        });
      }
      // The provider for v2 keys can't override endpoints, and the local one doesn't send a key.
      const local = CredentialProvider.forMomentoLocal({
        ...(endpointOverrides && { endpointOverrides }),
      });
      return Object.assign(local, { getAuthToken: () => apiKey });
    } catch {
      throw new InvalidPayload("Momento's SDK can't read its key");
    }
  }
}

function keyCheckOf({ kind }: Credential, host: string, error: SdkError): KeyCheck {
  switch (error.errorCode()) {
    case MomentoErrorCode.AUTHENTICATION_ERROR:
      // v1 and legacy keys contain their host, so it can't be the wrong one.
      return { verdict: 'rejected', host, byIssuer: kind !== 'v2' };
    case MomentoErrorCode.PERMISSION_ERROR:
    case MomentoErrorCode.CACHE_NOT_FOUND_ERROR:
      return { verdict: 'accepted' };
    default:
      return inconclusive(callFailed(host, error));
  }
}

/**
 * The RotationError for a call without an answer of Momento, or with a temporary error. It contains only known words of
 * the texts of grpc-js.
 */
export function callFailed(host: string, error: SdkError): RotationError {
  const text = error.innerException().message.replace(/^\d+ [A-Z_]+: /, '');
  if (/^(No connection established|Name resolution failed)/.test(text)) {
    const proxy = proxyFor(host.replace(/:\d+$/, ''));
    const proxyHost = proxy === undefined ? undefined : new URL(proxy).host;
    return connectionFailed({ host, text, wasConnected: false, proxy: proxyHost });
  }
  if (/^Connection dropped|\b(ECONNRESET|EPIPE|ETIMEDOUT)\b/.test(text)) {
    return connectionFailed({ host, text, wasConnected: true, outcomeUnknown: true });
  }
  const answer = text.startsWith('Deadline exceeded after')
    ? "didn't answer in time"
    : `answered ${/^Received (HTTP) status code( \d{3})/.exec(text)?.slice(1).join('') ?? error.errorCode()}`;
  return unavailable(host, answer, { outcomeUnknown: true });
}

/** The result of a verification in which an error left open whether Momento accepts the key. */
export function inconclusive({ problem }: RotationError): KeyCheck {
  return { verdict: 'inconclusive', problem: problem.replace(/\.$/, '') };
}

function only(host: string) {
  return {
    controlEndpoint: host,
    cacheEndpoint: host,
    tokenEndpoint: host,
    secureConnection: false,
  };
}

/** Closes the connection of an AuthClient, which has no `close()` (SDK 1.118). */
export function closeAuthClient(client: AuthClient): void {
  const { authClient: inner } = client as unknown as {
    authClient?: { authClient?: Closable; tokenClient?: Closable };
  };
  inner?.authClient?.close?.();
  inner?.tokenClient?.close?.();
}

/**
 * Closes the connections of a CacheClient. Its own `close()` (SDK 1.118) opens a new connection if the old one failed, and
 * keeps the old one for two minutes.
 */
export function closeCacheClient(client: CacheClient): void {
  const { controlClient, dataClients = [] } = client as unknown as {
    controlClient?: Wrapped;
    dataClients?: readonly Wrapped[];
  };
  for (const wrapped of [controlClient, ...dataClients]) wrapped?.clientWrapper?.client?.close?.();
}

interface Wrapped {
  readonly clientWrapper?: { readonly client?: Closable };
}

interface Closable {
  close?: () => void;
}
