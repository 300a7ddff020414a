/**
 * Connects the package's client to the emulators. The example application has a copy of these functions, because it can have
 * its own installation of grpc-js. Google's client rejects channel credentials that another installation created.
 */
import type { CredentialProvider } from '@gomomento/sdk';
import { googleAuthLibrary, grpc, type ClientOptions } from 'google-gax';

/** Options of Google's client that reach an emulator at `host:port`. */
export function localSecretManager(host: string): ClientOptions {
  const separator = host.lastIndexOf(':');
  return {
    apiEndpoint: host.slice(0, separator),
    port: Number(host.slice(separator + 1)),
    sslCreds: grpc.credentials.createInsecure(),
    // Without an auth client, Google's client looks for a metadata server.
    authClient: new googleAuthLibrary.PassThroughClient(),
  };
}

/** Sends the calls of a key to an emulator at `host:port`. The SDK itself can redirect only v1 keys. */
export function localMomento(host: string): (key: CredentialProvider) => CredentialProvider {
  return (key) =>
    Object.assign(key, {
      getCacheEndpoint: () => host,
      getControlEndpoint: () => host,
      getTokenEndpoint: () => host,
      isEndpointSecure: () => false,
      isCacheEndpointSecure: () => false,
      isControlEndpointSecure: () => false,
      isTokenEndpointSecure: () => false,
    });
}
