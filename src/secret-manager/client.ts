/** Clients of Secret Manager, one for each location, with the credentials that their calls need. */
import { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { PassThroughClient } from 'google-auth-library';
import { grpc } from 'google-gax';
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import type { SecretName } from '../secret-name';

/** How long one call may take. The client's own default is 60 s; a stuck call is better tried again. */
const CALL_TIMEOUT = 10 * SECOND;

/**
 * Options for one call. Each has its own: the client writes into them which resource the call is about, and calls that
 * shared them would be routed by each other's. Retrying is the rotation's business, which knows what may be repeated and
 * until when.
 */
export function callOptions() {
  return { timeout: CALL_TIMEOUT, retry: null };
}

export class Clients {
  readonly #emulator: string | undefined;
  readonly #clients = new Map<string, Promise<SecretManagerServiceClient>>();

  /** @param emulator `host:port` of a local service in place of the real one */
  constructor(emulator: string | undefined) {
    this.#emulator = emulator;
  }

  /** A client that has what its next call needs: a connection is made in the call, a token is there before. */
  async get({ location }: SecretName): Promise<SecretManagerServiceClient> {
    const key = location ?? 'global';
    const connecting = this.#clients.get(key) ?? connect(location, this.#emulator);
    this.#clients.set(key, connecting);
    try {
      const client = await connecting;
      // Kept by the client until it expires. Left to the call, a failure would look like an answer of Secret Manager's.
      await withCredentials(client.auth.getRequestHeaders());
      return client;
    } catch (error) {
      // A client that did not get credentials may never: the next call makes another.
      if (this.#clients.get(key) === connecting) this.#clients.delete(key);
      throw error;
    }
  }
}

async function connect(
  location: string | undefined,
  emulator: string | undefined,
): Promise<SecretManagerServiceClient> {
  const client = new SecretManagerServiceClient(clientOptions(location, emulator));
  // Left to itself the client starts at the first call, and without credentials ends the process.
  await withCredentials(client.initialize());
  return client;
}

/**
 * Waits for what fails for want of Google Cloud credentials only. That is final: what may pass, the library has tried
 * again. It waits for a metadata server without end, so that is ended here.
 */
async function withCredentials<T>(action: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer')), CALL_TIMEOUT);
  });
  try {
    return await Promise.race([action, tooLate]);
  } catch (cause) {
    throw new RotationError(
      'CREDENTIALS_UNAVAILABLE',
      'The function could not get Google Cloud credentials, so Secret Manager was not called. Readers keep the newest ' +
        'version. On Google Cloud, give it a service account that exists and is enabled; elsewhere, run gcloud auth ' +
        'application-default login, also when the last login has expired.',
      { cause },
    );
  } finally {
    clearTimeout(timer);
  }
}

function clientOptions(location: string | undefined, emulator: string | undefined) {
  const endpoint =
    location === undefined
      ? 'secretmanager.googleapis.com'
      : `secretmanager.${location}.rep.googleapis.com`;
  if (emulator === undefined) return location === undefined ? {} : { apiEndpoint: endpoint };
  const separator = emulator.lastIndexOf(':');
  return {
    apiEndpoint: emulator.slice(0, separator),
    port: Number(emulator.slice(separator + 1)),
    sslCreds: grpc.credentials.createInsecure(),
    // Otherwise the client looks for a metadata server.
    authClient: new PassThroughClient(),
    // One address stands for all endpoints: the service is told which one it is asked as.
    'grpc.default_authority': endpoint,
  };
}
