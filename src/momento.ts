import {
  AuthClient,
  AuthClientConfigurations,
  CacheClient,
  Configurations,
  CredentialProvider,
  ListCaches,
  MomentoErrorCode,
  NoopMomentoLoggerFactory,
  RefreshApiKey,
} from '@gomomento/sdk';
import type { Credential } from './credential';
import { RotationError } from './errors';
import type { Issuer, Verdict } from './ports';

/** How long Momento may take to say whether a key is good. */
const VERIFY_TIMEOUT_MS = 10_000;

/** The SDK logs nothing: its lines are not ours, and this function writes one line for each secret and run. */
const NO_LOG = new NoopMomentoLoggerFactory();

type Endpoints = NonNullable<
  Exclude<Parameters<typeof CredentialProvider.fromDisposableToken>[0], string>['endpointOverrides']
>;

/**
 * Issues a credential by refreshing the one before it, which Momento offers for v1 and legacy keys. The old key stays
 * valid until its own expiry.
 *
 * No message of the SDK is passed on: some quote parts of the key.
 */
export class RefreshIssuer implements Issuer {
  readonly #endpoints: Endpoints | undefined;

  /** @param emulator `host:port` of a local service in place of the real one */
  constructor(emulator?: string) {
    this.#endpoints =
      emulator === undefined
        ? undefined
        : {
            controlEndpoint: emulator,
            cacheEndpoint: emulator,
            tokenEndpoint: emulator,
            secureConnection: false,
          };
  }

  check(credential: Credential): void {
    if (credential.kind === 'v2') {
      throw notRefreshable('it is a v2 key, which Momento cannot refresh');
    }
    if (credential.refreshToken === undefined) {
      throw notRefreshable(
        'it came without a refresh token, as a key does that never expires or was made without one',
      );
    }
  }

  async issue(credential: Credential): Promise<Credential> {
    const client = new AuthClient({
      credentialProvider: this.#provider(credential),
      configuration: AuthClientConfigurations.Default.latest(NO_LOG),
    });
    let answer;
    try {
      answer = await client.refreshApiKey(credential.refreshToken ?? '');
    } finally {
      close(client);
    }
    if (answer instanceof RefreshApiKey.Error) throw refreshError(answer.errorCode());
    if (!(answer instanceof RefreshApiKey.Success)) throw invalidAnswer();
    const { apiKey, refreshToken, endpoint, expiresAt } = answer;
    let issued: Credential;
    try {
      issued = credential.renewed({
        apiKey,
        refreshToken,
        endpoint,
        expiresAt: expiresAt.epoch() * 1000,
      });
    } catch {
      throw invalidAnswer();
    }
    if (issued.refreshToken === undefined) throw invalidAnswer();
    return issued;
  }

  /**
   * Lists the caches, which is the cheapest call that Momento authenticates. That a key may not do so is said only to a key
   * that was accepted.
   */
  async verify(credential: Credential): Promise<Verdict> {
    const client = new CacheClient({
      credentialProvider: this.#provider(credential),
      configuration: Configurations.Lambda.latest(NO_LOG),
      defaultTtlSeconds: 60,
    });
    // A timer that goes when the answer is there: AbortSignal.timeout would hold on to the client for all of its time.
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), VERIFY_TIMEOUT_MS);
    try {
      const answer = await client.listCaches({ abortSignal: abort.signal });
      if (!(answer instanceof ListCaches.Error)) return 'accepted';
      switch (answer.errorCode()) {
        case MomentoErrorCode.AUTHENTICATION_ERROR:
          return 'rejected';
        case MomentoErrorCode.PERMISSION_ERROR:
        case MomentoErrorCode.CACHE_NOT_FOUND_ERROR:
          return 'accepted';
        default:
          return 'unclear';
      }
    } finally {
      clearTimeout(timer);
      client.close();
    }
  }

  #provider(credential: Credential): CredentialProvider {
    try {
      // `fromDisposableToken` reads v1 and legacy keys like the deprecated `fromString`: both make the same object.
      return CredentialProvider.fromDisposableToken({
        apiKey: credential.apiKey,
        ...(this.#endpoints && { endpointOverrides: this.#endpoints }),
      });
    } catch {
      throw new RotationError(
        'PAYLOAD_INVALID',
        "Momento's SDK cannot read the key in this secret. Nothing was changed; readers get this key. Store the JSON that " +
          'the Momento console downloads, as it is, as a new version.',
      );
    }
  }
}

function notRefreshable(why: string): RotationError {
  return new RotationError(
    'KEY_NOT_REFRESHABLE',
    `The newest key cannot be rotated: ${why}. Nothing was changed, readers keep it, and it ends at its own expiry. Store ` +
      'a key that expires and has a refresh token, or take the secret out of SECRETS.',
  );
}

function invalidAnswer(): RotationError {
  return new RotationError(
    'ISSUED_CREDENTIAL_INVALID',
    "Momento's answer to the refresh holds no complete credential, also when tried again, so nothing was stored. Readers " +
      'keep the newest version. If the next run fails too, store a new key from the Momento console before that one expires.',
  );
}

function refreshError(code: MomentoErrorCode): RotationError {
  switch (code) {
    case MomentoErrorCode.LIMIT_EXCEEDED_ERROR:
      return new RotationError(
        'MOMENTO_LIMIT_EXCEEDED',
        'Momento limits how often keys are refreshed, also after waiting. Readers keep the newest version. The next run ' +
          'goes on; if it persists, rotate fewer secrets at once.',
      );
    case MomentoErrorCode.TIMEOUT_ERROR:
    case MomentoErrorCode.SERVER_UNAVAILABLE:
    case MomentoErrorCode.CANCELLED_ERROR:
    case MomentoErrorCode.INTERNAL_SERVER_ERROR:
    case MomentoErrorCode.UNKNOWN_SERVICE_ERROR:
    case MomentoErrorCode.UNKNOWN_ERROR:
    case MomentoErrorCode.CONNECTION_ERROR:
      return new RotationError(
        'MOMENTO_UNAVAILABLE',
        `Momento did not answer the refresh (${code}), also when tried again. Readers keep the newest version. The next run ` +
          'goes on.',
      );
    default:
      return new RotationError('REFRESH_REFUSED', `Momento refused to refresh the key (${code}).`);
  }
}

interface Closable {
  close?: () => void;
}

/**
 * Closes the connection of an AuthClient, which has no `close()` of its own (SDK 1.118): a request for many secrets would
 * leave one open for each.
 */
function close(client: AuthClient): void {
  const { authClient: inner } = client as unknown as {
    authClient?: { authClient?: Closable; tokenClient?: Closable };
  };
  inner?.authClient?.close?.();
  inner?.tokenClient?.close?.();
}
