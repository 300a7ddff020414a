import { Crc32c } from '@aws-crypto/crc32c';
import type { protos, SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { grpc } from 'google-gax';
import { RotationError } from '../errors';
import type { Permission, SecretStore, StoredPayload, Version } from '../rotation/ports';
import type { SecretName } from '../secret-name';
import { callOptions, Clients } from './client';
import { toStoreError, unavailable, unless } from './errors';
import { iamName, permissionMissing } from './permissions';

type ApiVersion = protos.google.cloud.secretmanager.v1.ISecretVersion;

const { FAILED_PRECONDITION, NOT_FOUND, ABORTED } = grpc.status;

/** The largest page there is: all versions of a secret in one call, for all but the most unusual secret. */
const PAGE_SIZE = 25_000;

/** The secret versions of Google Cloud Secret Manager, global and regional, over gRPC. */
export class SecretManagerStore implements SecretStore {
  readonly permissionMissing = permissionMissing;
  readonly #clients: Clients;

  /** @param emulator `host:port` of a local service in place of the real one */
  constructor(emulator?: string) {
    this.#clients = new Clients(emulator);
  }

  /** Makes ready what calls for these secrets need. A failure shows itself again in the first call. */
  warmUp(secrets: readonly SecretName[]): void {
    for (const secret of secrets) this.#clients.get(secret).catch(() => undefined);
  }

  async access(secret: SecretName, version: number | 'latest'): Promise<StoredPayload | undefined> {
    return this.#call(secret, 'access', async (client) => {
      const name = versionName(secret, version);
      const answer = await client
        .accessSecretVersion({ name }, callOptions())
        .then(([found]) => found, unless(undefined, FAILED_PRECONDITION, NOT_FOUND));
      if (answer?.payload == null) return undefined;
      const payload = Buffer.from(answer.payload.data ?? '');
      const { dataCrc32c } = answer.payload;
      if (dataCrc32c != null && Number(dataCrc32c) !== crc32c(payload)) throw corrupt(name);
      return { number: versionNumber(answer.name), payload };
    });
  }

  async exists(secret: SecretName, version: number): Promise<boolean> {
    return this.#call(secret, 'access', (client) =>
      client
        .accessSecretVersion({ name: versionName(secret, version) }, callOptions())
        // One that is not enabled is there, too.
        .then(() => true, unless(true, FAILED_PRECONDITION))
        .catch(unless(false, NOT_FOUND)),
    );
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
        { resource: secret.name, permissions: permissions.map(iamName) },
        callOptions(),
      );
      const granted = new Set(answer.permissions);
      return permissions.filter((permission) => !granted.has(iamName(permission)));
    });
  }

  async add(secret: SecretName, payload: Uint8Array): Promise<Version> {
    return this.#call(secret, 'add', async (client) => {
      const [version] = await client.addSecretVersion(
        { parent: secret.name, payload: { data: payload, dataCrc32c: crc32c(payload) } },
        callOptions(),
      );
      try {
        return toVersion(version);
      } catch (cause) {
        // What was added is not lost for an answer that cannot be read.
        throw unavailable('its answer could not be read', { cause });
      }
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
    const request = { name: versionName(secret, number), ...(etag !== undefined && { etag }) };
    return this.#call(secret, permission, (client) =>
      change(client, request).then(
        () => true,
        // ABORTED: of two changes at once, the other one won (https://google.aip.dev/154).
        unless(false, FAILED_PRECONDITION, NOT_FOUND, ABORTED),
      ),
    );
  }

  async #call<T>(
    secret: SecretName,
    permission: Permission | undefined,
    call: (client: SecretManagerServiceClient) => Promise<T>,
  ): Promise<T> {
    try {
      return await call(await this.#clients.get(secret));
    } catch (error) {
      throw toStoreError(error, secret, permission);
    }
  }
}

function corrupt(name: string): RotationError {
  return new RotationError(
    'PAYLOAD_CORRUPT',
    `The payload of ${name} does not match its checksum (CRC32C). Nothing was changed. A passing fault goes away with ` +
      'the next run; if it stays, store the credential again.',
  );
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

function versionName(secret: SecretName, version: number | 'latest'): string {
  return `${secret.name}/versions/${version}`;
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
