/** Clients of Secret Manager, one for each location, with the credentials that their calls need. */
import { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { PassThroughClient } from 'google-auth-library';
import { grpc } from 'google-gax';
import { systemClock, withDeadline } from '../clock';
import { grpcLogger } from '../connection-errors';
import { MINUTE, SECOND } from '../duration';
import { proxyFor } from '../proxy';
import type { SecretName } from '../secret-name';
import { credentialsUnavailable, hasStatus, NO_ANSWER, type FailedCall } from './errors';

/** The client's default is 60 s. A shorter timeout leaves time to repeat a stuck call. */
const CALL_TIMEOUT = 10 * SECOND;

/**
 * Google's servers accept a ping every 30 s, but close a connection that pings while it has no calls. So a connection that
 * breaks while it is idle fails its next call.
 */
const KEEPALIVE = {
  'grpc.keepalive_time_ms': MINUTE,
  'grpc.keepalive_timeout_ms': CALL_TIMEOUT,
  'grpc.keepalive_permit_without_calls': 0,
};

/**
 * New options for each call, because the client writes the call's resource into them for routing. The client doesn't
 * retry: the rotation knows which calls are safe to repeat and until when.
 */
export function callOptions() {
  return { timeout: CALL_TIMEOUT, retry: null };
}

/** The host that serves a secret. */
function hostOf({ location }: SecretName): string {
  const place = location === undefined ? '' : `${location}.rep.`;
  return `secretmanager.${place}${universeDomain()}`;
}

/** The domain of Google's public cloud, or of the cloud that GOOGLE_CLOUD_UNIVERSE_DOMAIN names. */
function universeDomain(): string {
  return process.env.GOOGLE_CLOUD_UNIVERSE_DOMAIN ?? 'googleapis.com';
}

grpc.setLogger(grpcLogger);

/** A client, and the calls that use it. */
class Connection {
  readonly client: Promise<SecretManagerServiceClient>;
  #calls = 0;
  #isRetired = false;

  constructor(client: Promise<SecretManagerServiceClient>) {
    this.client = client;
  }

  async use<T>(call: (client: SecretManagerServiceClient) => Promise<T>): Promise<T> {
    this.#calls += 1;
    try {
      return await call(await this.client);
    } finally {
      this.#calls -= 1;
      this.#closeIfUnused();
    }
  }

  /** Closes the client as soon as its calls have ended. */
  retire(): void {
    this.#isRetired = true;
    this.#closeIfUnused();
  }

  #closeIfUnused(): void {
    if (!this.#isRetired || this.#calls > 0) return;
    this.client.then((client) => client.close()).catch(() => undefined);
  }
}

export class Clients {
  readonly #emulator: string | undefined;
  readonly #connections = new Map<string, Connection>();

  /** @param emulator `host:port` of an emulator in place of Secret Manager */
  constructor(emulator: string | undefined) {
    this.#emulator = emulator;
  }

  /** The host that is called, and the proxy on the way to it. */
  route(secret: SecretName): Pick<FailedCall, 'host' | 'proxy'> {
    if (this.#emulator !== undefined) return { host: this.#emulator };
    const host = hostOf(secret);
    const proxy = proxyFor(host);
    return { host, proxy: proxy === undefined ? undefined : new URL(proxy).host };
  }

  /** Makes a call. If it gets no answer in time, the connection might be broken, so the next call opens a new connection. */
  async use<T>(
    secret: SecretName,
    call: (client: SecretManagerServiceClient) => Promise<T>,
  ): Promise<T> {
    const host = hostOf(secret);
    const connection =
      this.#connections.get(host) ?? new Connection(connect(secret, this.#emulator));
    this.#connections.set(host, connection);
    try {
      return await connection.use(async (client) => {
        // Fetch the token before the call, because a failure in the call would look like an answer of Secret Manager. The
        // client caches the token.
        await withCredentials(client.auth.getRequestHeaders());
        return call(client);
      });
    } catch (error) {
      // A client that didn't get credentials might never get them.
      const isBroken =
        hasStatus(error, grpc.status.DEADLINE_EXCEEDED) || error instanceof MissingCredentials;
      if (isBroken) this.#replace(host, connection);
      throw error instanceof MissingCredentials ? credentialsUnavailable(error.cause) : error;
    }
  }

  #replace(host: string, connection: Connection): void {
    if (this.#connections.get(host) === connection) this.#connections.delete(host);
    connection.retire();
  }
}

async function connect(
  secret: SecretName,
  emulator: string | undefined,
): Promise<SecretManagerServiceClient> {
  const client = new SecretManagerServiceClient(clientOptions(secret, emulator));
  // Otherwise the client initializes at the first call, and ends the process if it has no credentials.
  await withCredentials(client.initialize());
  return client;
}

class MissingCredentials extends Error {}

/**
 * Waits for a step that needs Google Cloud credentials. The library retries, and would wait forever for a silent metadata
 * server. This deadline uses the system clock and not the run's clock, as gRPC's deadlines do.
 */
async function withCredentials<T>(step: Promise<T>): Promise<T> {
  const deadline = systemClock.monotonic() + CALL_TIMEOUT;
  try {
    return await withDeadline(systemClock, deadline, step, () => {
      throw new Error(NO_ANSWER);
    });
  } catch (cause) {
    throw new MissingCredentials('no credentials', { cause });
  }
}

function clientOptions(secret: SecretName, emulator: string | undefined) {
  const host = hostOf(secret);
  const options = {
    ...KEEPALIVE,
    // Otherwise a new client would share the connection of the one that it replaces.
    'grpc.use_local_subchannel_pool': 1,
    // Otherwise calls fail for up to two minutes after a long outage.
    'grpc.max_reconnect_backoff_ms': 5 * SECOND,
  };
  if (emulator === undefined) {
    const google = {
      ...options,
      // The client reads the variable for the host of global secrets only.
      universeDomain: universeDomain(),
      // Otherwise the library searches for a project, with gcloud and at the metadata server. No call needs it.
      projectId: secret.project,
    };
    return secret.location === undefined ? google : { ...google, apiEndpoint: host };
  }
  const separator = emulator.lastIndexOf(':');
  return {
    ...options,
    apiEndpoint: emulator.slice(0, separator),
    port: Number(emulator.slice(separator + 1)),
    sslCreds: grpc.credentials.createInsecure(),
    // Otherwise the client looks for a metadata server.
    authClient: new PassThroughClient(),
    // The emulator has one address for all endpoints. The authority names the one that is called.
    'grpc.default_authority': host,
    'grpc.enable_http_proxy': 0,
  };
}
