import { Crc32c } from '@aws-crypto/crc32c';
import { SecretManagerServiceClient, type protos } from '@google-cloud/secret-manager';
import { PassThroughClient } from 'google-auth-library';
import { grpc } from 'google-gax';
import { RotationError } from './errors';
import { permissionMissing, type Permission, type SecretStore } from './ports';
import type { Version } from './renewal';
import type { SecretName } from './secret-name';

type ApiVersion = protos.google.cloud.secretmanager.v1.ISecretVersion;

/** How long one call may take. The client's own default is 60 s; a stuck call is better tried again. */
const CALL_TIMEOUT_MS = 10_000;

/** The largest page there is: all versions of a secret in one call, for all but the most unusual secret. */
const PAGE_SIZE = 25_000;

/**
 * Options for one call. Each has its own: the client writes into them which resource the call is about, and calls that
 * shared them would be routed by each other's. Retrying is the rotation's business, which knows what may be repeated and
 * until when.
 */
function callOptions() {
  return { timeout: CALL_TIMEOUT_MS, retry: null };
}

/** The secret versions of Google Cloud Secret Manager, global and regional, over gRPC. */
export class SecretManagerStore implements SecretStore {
  readonly #emulator: string | undefined;
  readonly #clients = new Map<string, Promise<SecretManagerServiceClient>>();

  /** @param emulator `host:port` of a local service in place of the real one */
  constructor(emulator?: string) {
    this.#emulator = emulator;
  }

  /** Makes ready what calls for these secrets need. A failure shows itself again in the first call. */
  warmUp(secrets: readonly SecretName[]): void {
    for (const secret of secrets) this.#client(secret).catch(() => undefined);
  }

  async access(
    secret: SecretName,
    version: number | 'latest',
  ): Promise<{ number: number; payload: Uint8Array } | undefined> {
    return this.#call(secret, 'access', async (client) => {
      const name = `${secret.name}/versions/${version}`;
      const answer = await client
        .accessSecretVersion({ name }, callOptions())
        .then(
          ([found]) => found,
          unless(undefined, grpc.status.FAILED_PRECONDITION, grpc.status.NOT_FOUND),
        );
      if (answer?.payload == null) return undefined;
      const payload = Buffer.from(answer.payload.data ?? '');
      const { dataCrc32c } = answer.payload;
      if (dataCrc32c != null && Number(dataCrc32c) !== crc32c(payload)) {
        throw new RotationError(
          'PAYLOAD_CORRUPT',
          `The payload of ${name} does not match its checksum (CRC32C). Nothing was changed. A passing fault goes away with ` +
            'the next run; if it stays, store the credential again.',
        );
      }
      return { number: versionNumber(answer.name), payload };
    });
  }

  async list(secret: SecretName): Promise<Version[]> {
    return this.#call(secret, 'list', async (client) => {
      const versions: Version[] = [];
      let pageToken: string | null | undefined;
      do {
        const [page, , answer] = await client.listSecretVersions(
          { parent: secret.name, pageSize: PAGE_SIZE, ...(pageToken != null && { pageToken }) },
          { ...callOptions(), autoPaginate: false },
        );
        versions.push(...page.map(toVersion));
        pageToken = answer.nextPageToken;
      } while (pageToken != null && pageToken !== '');
      return versions;
    });
  }

  async missingPermissions(
    secret: SecretName,
    permissions: readonly Permission[],
  ): Promise<Permission[]> {
    return this.#call(secret, undefined, async (client) => {
      const [answer] = await client.testIamPermissions(
        { resource: secret.name, permissions: [...permissions] },
        callOptions(),
      );
      const granted = new Set(answer.permissions);
      return permissions.filter((permission) => !granted.has(permission));
    });
  }

  async add(secret: SecretName, payload: Uint8Array): Promise<Version> {
    return this.#call(secret, 'add', async (client) => {
      const [version] = await client.addSecretVersion(
        { parent: secret.name, payload: { data: payload, dataCrc32c: crc32c(payload) } },
        callOptions(),
      );
      return toVersion(version);
    });
  }

  async disable(secret: SecretName, version: Version): Promise<boolean> {
    return this.#change(secret, 'disable', version, (client, request) =>
      client.disableSecretVersion(request, callOptions()),
    );
  }

  async destroy(secret: SecretName, version: Version): Promise<boolean> {
    return this.#change(secret, 'destroy', version, (client, request) =>
      client.destroySecretVersion(request, callOptions()),
    );
  }

  /** Changes a version's state if nobody has changed it since it was listed: that is what the etag is for. */
  #change(
    secret: SecretName,
    permission: 'disable' | 'destroy',
    { number, etag }: Version,
    change: (
      client: SecretManagerServiceClient,
      request: { name: string; etag?: string },
    ) => Promise<unknown>,
  ): Promise<boolean> {
    const request = {
      name: `${secret.name}/versions/${number}`,
      ...(etag !== undefined && { etag }),
    };
    return this.#call(secret, permission, (client) =>
      change(client, request).then(
        () => true,
        unless(
          false,
          grpc.status.FAILED_PRECONDITION,
          grpc.status.NOT_FOUND,
          // Two changes at once: the other one won (https://google.aip.dev/154).
          grpc.status.ABORTED,
        ),
      ),
    );
  }

  async #call<T>(
    secret: SecretName,
    permission: 'access' | 'list' | 'add' | 'disable' | 'destroy' | undefined,
    call: (client: SecretManagerServiceClient) => Promise<T>,
  ): Promise<T> {
    const client = await this.#client(secret);
    try {
      return await call(client);
    } catch (error) {
      throw toStoreError(error, secret, permission && `secretmanager.versions.${permission}`);
    }
  }

  /** A client that has what its next call needs: a connection is made in the call, a token is there before. */
  async #client(secret: SecretName): Promise<SecretManagerServiceClient> {
    const location = secret.location ?? 'global';
    const connecting = this.#clients.get(location) ?? connect(secret.location, this.#emulator);
    this.#clients.set(location, connecting);
    try {
      const client = await connecting;
      // Kept by the client until it expires. Left to the call, a failure would look like an answer of Secret Manager's.
      await withCredentials(client.auth.getRequestHeaders());
      return client;
    } catch (error) {
      // A client that did not get credentials may never: the next call makes another.
      if (this.#clients.get(location) === connecting) this.#clients.delete(location);
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
    timer = setTimeout(() => reject(new Error('no answer')), CALL_TIMEOUT_MS);
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
  if (emulator !== undefined) {
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
  return location === undefined ? {} : { apiEndpoint: endpoint };
}

/** Rejection handler: these statuses mean `value`, any other error stays one. */
function unless<T>(value: T, ...statuses: grpc.status[]): (error: unknown) => T {
  return (error) => {
    if (statuses.some((status) => status === statusOf(error))) return value;
    throw error;
  };
}

function toStoreError(
  error: unknown,
  secret: SecretName,
  permission: Permission | undefined,
): RotationError {
  if (error instanceof RotationError) return error;
  const { status } = grpc;
  const code = statusOf(error);
  const name = code === undefined ? 'no gRPC status' : status[code];
  const options = { cause: error };
  switch (code) {
    case status.NOT_FOUND:
      return new RotationError(
        'SECRET_NOT_FOUND',
        `${secret.name} does not exist. Create it, or take it out of SECRETS.`,
        options,
      );
    case status.PERMISSION_DENIED:
      if (reasonOf(error) === 'SERVICE_DISABLED') {
        return new RotationError(
          'SECRET_MANAGER_REFUSED',
          `The Secret Manager API is not enabled in the project of ${secret.name}, or was only now. Readers keep the newest ` +
            'version. Enable secretmanager.googleapis.com there, and wait a few minutes.',
          options,
        );
      }
      if (permission !== undefined) return permissionMissing(secret, [permission]);
      break;
    case status.UNAUTHENTICATED:
      return new RotationError(
        'CREDENTIALS_UNAVAILABLE',
        "Secret Manager did not accept the function's Google Cloud credentials. Readers keep the newest version. See " +
          'whether its service account exists and is enabled.',
        options,
      );
    case status.RESOURCE_EXHAUSTED:
      return new RotationError(
        'SECRET_MANAGER_QUOTA_EXCEEDED',
        "The project's quota for Secret Manager is used up, also after waiting for it. Readers keep the newest version. The " +
          'next run goes on; if it persists, spread the schedules or ask for more quota.',
        options,
      );
    case status.UNAVAILABLE:
    case status.DEADLINE_EXCEEDED:
    case status.INTERNAL:
    case status.UNKNOWN:
    case status.ABORTED:
    case status.CANCELLED:
    case status.DATA_LOSS:
      return unavailable(`it answered ${name}`, options);
    case status.UNIMPLEMENTED:
      if (permission === undefined) {
        return new RotationError(
          'SECRET_MANAGER_REFUSED',
          'This service does not offer TestIamPermissions, as Secret Manager does. The function asks it, before it issues a ' +
            'key, whether it may store one; so nothing was changed. Give SECRET_MANAGER_EMULATOR_HOST a service that offers it.',
          options,
        );
      }
      break;
    case undefined:
      return unavailable('its answer could not be read', options);
    default:
  }
  return new RotationError(
    'SECRET_MANAGER_REFUSED',
    `Secret Manager refused a call for ${secret.name} with ${name}. Readers keep the newest version. See whether the ` +
      'secret is as the README says, and the audit log for what it did not like.',
    options,
  );
}

function unavailable(what: string, options: ErrorOptions): RotationError {
  return new RotationError(
    'SECRET_MANAGER_UNAVAILABLE',
    `Secret Manager is not available: ${what}, also when tried again. Readers keep the newest version. The next run goes on.`,
    options,
  );
}

function statusOf(error: unknown): grpc.status | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  return Object.values(grpc.status).find((status): status is grpc.status => status === code);
}

/** What Google gives programs to branch on (google.rpc.ErrorInfo). */
function reasonOf(error: unknown): unknown {
  return error instanceof Error && 'reason' in error ? error.reason : undefined;
}

function toVersion({ name, state, createTime, etag, scheduledDestroyTime }: ApiVersion): Version {
  if (state !== 'ENABLED' && state !== 'DISABLED' && state !== 'DESTROYED') {
    throw new Error('a version without a known state');
  }
  if (createTime?.seconds == null) throw new Error('a version without a creation time');
  return {
    number: versionNumber(name),
    state,
    createdAt: Number(createTime.seconds) * 1000 + Math.floor((createTime.nanos ?? 0) / 1e6),
    ...(etag != null && etag !== '' && { etag }),
    ...(scheduledDestroyTime != null && { destroyScheduled: true }),
  };
}

/** The number at the end of a version's name. The rest may differ from what was asked for: a project has two names. */
function versionNumber(name: string | null | undefined): number {
  const number = /\/versions\/(\d+)$/.exec(name ?? '')?.[1];
  if (number === undefined) throw new Error('a version without a number');
  return Number(number);
}

function crc32c(data: Uint8Array): number {
  return new Crc32c().update(data).digest();
}
