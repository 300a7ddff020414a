import { Crc32c } from '@aws-crypto/crc32c';
import type { protos, SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { grpc } from 'google-gax';
import type { Clock } from '../clock';
import { RotationError, type RotationErrorOptions } from '../errors';
import type {
  Access,
  CallLimits,
  Permission,
  SecretStore,
  Version,
  VersionList,
} from '../rotation/ports';
import type { SecretName } from '../secret-name';
import { callOptions, Clients } from './client';
import {
  hasStatus,
  iamName,
  notReadable,
  permissionMissing,
  toStoreError,
  unless,
  unreadableAnswer,
  type VersionPermission,
} from './errors';
import { CallQueue, Priority, type Quota } from './quota';
import { parseVersion, parseVersionName, toVersionList, type ApiVersion } from './versions';

type Client = SecretManagerServiceClient;
type AccessAnswer = protos.google.cloud.secretmanager.v1.IAccessSecretVersionResponse;

const { FAILED_PRECONDITION, NOT_FOUND, PERMISSION_DENIED, ABORTED } = grpc.status;

/** The largest page, so that nearly every list needs one call. */
const PAGE_SIZE = 25_000;
/** A longer list is a fault of the server. Google needs one page, emulators can need several. */
const MAX_PAGES = 100;

/** A method of Secret Manager, for quotas and error messages. */
interface Method {
  readonly permission: VersionPermission | undefined;
  readonly quota: Quota;
  readonly priority: Priority;
}

const METHODS = {
  access: { permission: 'access', quota: 'access', priority: Priority.READ },
  get: { permission: 'get', quota: 'read', priority: Priority.READ },
  list: { permission: 'list', quota: 'read', priority: Priority.READ },
  test: { permission: undefined, quota: 'read', priority: Priority.READ },
  add: { permission: 'add', quota: 'write', priority: Priority.ADD },
  disable: { permission: 'disable', quota: 'write', priority: Priority.CHANGE },
  destroy: { permission: 'destroy', quota: 'write', priority: Priority.CHANGE },
} as const satisfies Record<string, Method>;

interface SecretManagerOptions {
  /** `host:port` of an emulator in place of Secret Manager. */
  readonly emulator?: string | undefined;
  readonly clock: Clock;
}

/** The secret versions of Google Cloud Secret Manager, global and regional, over gRPC. */
export class SecretManagerStore implements SecretStore {
  readonly permissionMissing = permissionMissing;
  readonly disable: SecretStore['disable'] = (...call) => this.#change('disable', ...call);
  readonly destroy: SecretStore['destroy'] = (...call) => this.#change('destroy', ...call);
  readonly #clients: Clients;
  readonly #queue: CallQueue;
  readonly #clock: Clock;

  constructor({ emulator, clock }: SecretManagerOptions) {
    this.#clients = new Clients(emulator);
    this.#queue = new CallQueue(clock);
    this.#clock = clock;
  }

  /** Creates clients and credentials for these secrets. If that fails, the first call fails with the same error. */
  warmUp(secrets: readonly SecretName[]): void {
    for (const secret of secrets) {
      this.#clients.use(secret, () => Promise.resolve()).catch(() => undefined);
    }
  }

  async access(
    secret: SecretName,
    version: number | 'latest',
    limits: CallLimits,
  ): Promise<Access> {
    const name = versionName(secret, version);
    return this.#call(METHODS.access, secret, limits, async (client) => {
      try {
        const [answer] = await client.accessSecretVersion({ name }, callOptions());
        return this.#payload(answer, secret, version);
      } catch (error) {
        if (hasStatus(error, NOT_FOUND)) return { kind: 'absent' };
        const reason = notReadable(error);
        if (reason === undefined) throw error;
        const isDenied = hasStatus(error, PERMISSION_DENIED) || undefined;
        return { kind: 'not_readable', reason, isDenied };
      }
    });
  }

  async get(secret: SecretName, version: number, limits: CallLimits): Promise<Version | undefined> {
    return this.#call(METHODS.get, secret, limits, async (client) => {
      const answer = await client
        .getSecretVersion({ name: versionName(secret, version) }, callOptions())
        .then(([found]) => found, unless(undefined, NOT_FOUND));
      if (answer === undefined) return undefined;
      const found = parseVersion(answer, secret, this.#clock.now());
      if (found?.number === version && found.incomplete !== true) return found;
      throw this.#unreadable(secret, `version ${version} has no known state or no time`);
    });
  }

  async list(secret: SecretName, limits: CallLimits): Promise<VersionList> {
    const pages: ApiVersion[][] = [];
    const tokens = new Set<string>();
    let pageToken = '';
    do {
      if (tokens.has(pageToken) || tokens.size === MAX_PAGES) throw endless(secret, tokens.size);
      tokens.add(pageToken);
      const [page, , answer] = await this.#call(METHODS.list, secret, limits, (client) =>
        client.listSecretVersions(
          { parent: secret.name, pageSize: PAGE_SIZE, pageToken },
          { ...callOptions(), autoPaginate: false },
        ),
      );
      pages.push(page);
      pageToken = answer.nextPageToken ?? '';
    } while (pageToken !== '');
    const entries = pages.flat();
    const list = toVersionList(entries, secret, this.#clock.now());
    // An empty list would mean that the secret has no version.
    if (list.versions.length === 0 && entries.length > 0) {
      throw this.#unreadable(secret, 'no entry of the list of versions has a number');
    }
    return list;
  }

  async missingPermissions(
    secret: SecretName,
    permissions: readonly Permission[],
    limits: CallLimits,
  ): Promise<Permission[]> {
    return this.#call(METHODS.test, secret, limits, async (client) => {
      const [answer] = await client.testIamPermissions(
        { resource: secret.name, permissions: permissions.map(iamName) },
        callOptions(),
      );
      const granted = new Set(answer.permissions);
      return permissions.filter((permission) => !granted.has(iamName(permission)));
    });
  }

  async add(secret: SecretName, payload: Uint8Array, limits: CallLimits): Promise<Version> {
    return this.#call(METHODS.add, secret, limits, async (client) => {
      const [answer] = await client.addSecretVersion(
        { parent: secret.name, payload: { data: payload, dataCrc32c: crc32c(payload) } },
        callOptions(),
      );
      const added = parseVersion(answer, secret, this.#clock.now());
      // The version might exist, so the rotation must not discard the credential.
      if (added === undefined) {
        throw this.#unreadable(secret, 'the new version has no number', { outcomeUnknown: true });
      }
      return added;
    });
  }

  /** Changes a version's state, unless the etag shows that it has changed since it was listed. */
  async #change(
    step: 'disable' | 'destroy',
    secret: SecretName,
    version: Version,
    newer: Version,
    limits: CallLimits,
  ): Promise<boolean> {
    // Protects the newest version even if the cleanup plan is wrong.
    if (!(newer.number > version.number)) throw notOlder(secret, version, newer);
    if (version.incomplete === true) return false;
    const request = { name: versionName(secret, version.number), etag: version.etag ?? '' };
    return this.#call(METHODS[step], secret, limits, async (client) => {
      const change =
        step === 'disable'
          ? client.disableSecretVersion(request, callOptions())
          : client.destroySecretVersion(request, callOptions());
      // ABORTED: a concurrent change came first (https://google.aip.dev/154).
      const unchanged = unless(false, FAILED_PRECONDITION, NOT_FOUND, ABORTED);
      return change.then(() => true, unchanged);
    });
  }

  #payload(answer: AccessAnswer, secret: SecretName, version: number | 'latest'): Access {
    const { canonicalName, number } = parseVersionName(answer.name, secret) ?? {};
    const data = answer.payload?.data;
    const isRequested = version === 'latest' || number === version;
    if (number === undefined || !isRequested || data == null || data.length === 0) {
      throw this.#unreadable(secret, `it contains no payload of version ${version}`);
    }
    const payload = Buffer.from(data);
    const checksum = answer.payload?.dataCrc32c;
    if (checksum != null && Number(checksum) !== crc32c(payload)) throw corrupt(secret, number);
    return { kind: 'payload', number, payload, canonicalName };
  }

  #unreadable(secret: SecretName, what: string, options?: RotationErrorOptions): RotationError {
    return unreadableAnswer({ secret, ...this.#clients.route(secret) }, what, options);
  }

  /** Makes a call when the limits allow it. */
  #call<T>(
    { permission, quota, priority }: Method,
    secret: SecretName,
    { deadline }: CallLimits,
    call: (client: Client) => Promise<T>,
  ): Promise<T> {
    const { project } = secret;
    return this.#queue.run({ project, quota, priority, deadline }, async () => {
      try {
        return await this.#clients.use(secret, call);
      } catch (error) {
        throw toStoreError(error, { secret, permission, ...this.#clients.route(secret) });
      }
    });
  }
}

function corrupt(secret: SecretName, version: number): RotationError {
  return new RotationError('PAYLOAD_CORRUPT', {
    problem: `The payload of version ${version} of ${secret.name} doesn't match its checksum (CRC32C).`,
    action: 'If the next run fails the same way, store the credential again as a new version.',
  });
}

function endless(secret: SecretName, pages: number): RotationError {
  return new RotationError('SECRET_MANAGER_REFUSED', {
    problem: `The list of versions of ${secret.name} doesn't end: Secret Manager repeats a page or has more than ${pages} pages.`,
    action:
      'Report the fault to the operator of the Secret Manager endpoint, such as Google Cloud support.',
  });
}

function notOlder(secret: SecretName, version: Version, newer: Version): RotationError {
  return new RotationError('INTERNAL', {
    problem: `The rotator tried to disable or destroy version ${version.number} of ${secret.name}, but ${newer.number} isn't a newer version. This is a fault of the rotator.`,
    action: 'Report it with the stack in this log line.',
  });
}

function versionName(secret: SecretName, version: number | 'latest'): string {
  return `${secret.name}/versions/${version}`;
}

function crc32c(data: Uint8Array): number {
  return new Crc32c().update(data).digest();
}
