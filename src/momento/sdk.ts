/** Clients of Momento's SDK for the keys of one credential. The SDK logs nothing: its lines are not ours. */
import {
  AuthClient,
  AuthClientConfigurations,
  CacheClient,
  Configurations,
  CredentialProvider,
  NoopMomentoLoggerFactory,
} from '@gomomento/sdk';
import { RotationError } from '../errors';
import type { Credential } from './credential';

const NO_LOG = new NoopMomentoLoggerFactory();

export class Sdk {
  readonly #emulator: string | undefined;

  /** @param emulator `host:port` of a local service in place of the real one */
  constructor(emulator: string | undefined) {
    this.#emulator = emulator;
  }

  /** @param credential of a v1 or legacy key: for others the SDK has nothing to offer here */
  authClient(credential: Credential): AuthClient {
    return new AuthClient({
      credentialProvider: this.#oldKey(credential),
      configuration: AuthClientConfigurations.Default.latest(NO_LOG),
    });
  }

  /** @param endpoint the host to use a v2 key with: keys of older kinds name their own */
  cacheClient(credential: Credential, endpoint: string): CacheClient {
    return new CacheClient({
      credentialProvider:
        credential.kind === 'v2' ? this.#v2Key(credential, endpoint) : this.#oldKey(credential),
      configuration: Configurations.Lambda.latest(NO_LOG),
      defaultTtlSeconds: 60,
    });
  }

  #oldKey({ apiKey }: Credential): CredentialProvider {
    const endpointOverrides = this.#emulator === undefined ? undefined : only(this.#emulator);
    try {
      // `fromDisposableToken` reads v1 and legacy keys like the deprecated `fromString`: both make the same object.
      return CredentialProvider.fromDisposableToken({
        apiKey,
        ...(endpointOverrides && { endpointOverrides }),
      });
    } catch {
      throw unreadable();
    }
  }

  #v2Key({ apiKey }: Credential, endpoint: string): CredentialProvider {
    if (this.#emulator === undefined) {
      try {
        return CredentialProvider.fromApiKeyV2({ apiKey, endpoint });
      } catch {
        throw unreadable();
      }
    }
    // The provider for v2 keys lets nobody override its endpoints, and the local one sends no key.
    const local = CredentialProvider.forMomentoLocal({ endpointOverrides: only(this.#emulator) });
    return Object.assign(local, { getAuthToken: () => apiKey });
  }
}

function only(host: string) {
  return {
    controlEndpoint: host,
    cacheEndpoint: host,
    tokenEndpoint: host,
    secureConnection: false,
  };
}

/** No message of the SDK is passed on: some quote parts of the key. */
function unreadable(): RotationError {
  return new RotationError(
    'PAYLOAD_INVALID',
    "Momento's SDK cannot read the key in this secret. Nothing was changed; readers get this key. Store what Momento gave " +
      'you, as it is, as a new version.',
  );
}

/**
 * Closes the connection of an AuthClient, which has no `close()` of its own (SDK 1.118): a request for many secrets would
 * leave one open for each.
 */
export function close(client: AuthClient): void {
  const { authClient: inner } = client as unknown as {
    authClient?: { authClient?: Closable; tokenClient?: Closable };
  };
  inner?.authClient?.close?.();
  inner?.tokenClient?.close?.();
}

interface Closable {
  close?: () => void;
}
