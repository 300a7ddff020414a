/** Emulators in place of Secret Manager and Momento: plaintext, on this machine. Not needed in production. */
import type { CredentialProvider } from '@gomomento/sdk';
import { googleAuthLibrary, grpc } from 'google-gax';
import type { Options, secretManager } from 'momento-rotating-client';

type GoogleClientOptions = NonNullable<Parameters<typeof secretManager>[1]>;

/** Options of Google's client that reach an emulator at `host:port`; undefined for the real service. */
export function localSecretManager(host: string): GoogleClientOptions | undefined {
  if (host === '') return undefined;
  const separator = host.lastIndexOf(':');
  return {
    apiEndpoint: host.slice(0, separator),
    port: Number(host.slice(separator + 1)),
    sslCreds: grpc.credentials.createInsecure(),
    // Otherwise the client looks for a metadata server.
    authClient: new googleAuthLibrary.PassThroughClient(),
  };
}

/** Sends the calls of a key to an emulator at `host:port`; undefined for the real service. */
export function localMomento(host: string): Options['redirect'] {
  if (host === '') return undefined;
  // The SDK itself can redirect only v1 keys.
  return (credentialProvider: CredentialProvider) =>
    Object.assign(credentialProvider, {
      getCacheEndpoint: () => host,
      getControlEndpoint: () => host,
      getTokenEndpoint: () => host,
      isEndpointSecure: () => false,
      isCacheEndpointSecure: () => false,
      isControlEndpointSecure: () => false,
      isTokenEndpointSecure: () => false,
    });
}
