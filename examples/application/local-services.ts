/** Local services in place of Secret Manager and Momento: plaintext, on this machine. Not needed in production. */
import type { CredentialProvider } from '@gomomento/sdk';
import { googleAuthLibrary, grpc } from 'google-gax';
import type { Settings } from './rotating-cache-client.ts';

/** Takes `host:port` of each; empty for the real one. */
export function localServices(
  secretManager: string,
  momento: string,
): Pick<Settings, 'secretManager' | 'redirect'> {
  return {
    ...(secretManager !== '' && { secretManager: plaintext(secretManager) }),
    ...(momento !== '' && { redirect: (credentials) => redirected(credentials, momento) }),
  };
}

function plaintext(host: string): NonNullable<Settings['secretManager']> {
  const separator = host.lastIndexOf(':');
  return {
    apiEndpoint: host.slice(0, separator),
    port: Number(host.slice(separator + 1)),
    sslCreds: grpc.credentials.createInsecure(),
    // Otherwise the client looks for a metadata server.
    authClient: new googleAuthLibrary.PassThroughClient(),
  };
}

/** The SDK itself lets only v1 keys go elsewhere. */
function redirected(credentials: CredentialProvider, host: string): CredentialProvider {
  return Object.assign(credentials, {
    getCacheEndpoint: () => host,
    getControlEndpoint: () => host,
    getTokenEndpoint: () => host,
    isEndpointSecure: () => false,
    isCacheEndpointSecure: () => false,
    isControlEndpointSecure: () => false,
    isTokenEndpointSecure: () => false,
  });
}
