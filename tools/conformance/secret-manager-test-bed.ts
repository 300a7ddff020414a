/** Calls Secret Manager with secrets that the test bed creates, and deletes them at the end. */
import { randomBytes } from 'node:crypto';
import { crc32c } from '@aws-crypto/crc32c';
import type { protos, SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { DAY, MINUTE, SECOND } from '../../src/duration';
import type { CallLimits, Version } from '../../src/rotation/ports';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { callOptions, Clients } from '../../src/secret-manager/client';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { failed, NotChecked, once, reasonOf, statusName } from './assumption';
import type { TestBed } from './group';
import type { Target } from './target';
import { inTime } from './wait';

type ApiVersion = protos.google.cloud.secretmanager.v1.ISecretVersion;

/** Secret Manager allows some two additions a second to a secret, and one change of state to a version. */
const PAUSE = 1.1 * SECOND;

/** The time limit for a change to become visible in lists and in `latest`. */
export const TIME_LIMIT = 5 * MINUTE;

const MAX_PAYLOAD_BYTES = 64 * 1024;

export class SecretManagerTestBed implements TestBed {
  readonly target: Target;
  readonly secret: SecretName;
  /** The function's own client. */
  readonly store: SecretManagerStore;
  /** Calls of this tool have no deadline, unlike the calls of a run. */
  readonly limits: CallLimits = { deadline: Infinity };
  firstAskedAt = 0;
  readonly #clients: Clients;
  readonly #left: string[] = [];
  readonly #created: SecretName[] = [];

  /** @throws NotChecked without a name for the secret */
  constructor(target: Target) {
    const { secret, secretManagerEmulator } = target;
    if (secret === undefined) throw new NotChecked('CONFORMANCE_SECRET is not set');
    this.target = target;
    this.secret = secret;
    this.store = new SecretManagerStore({ emulator: secretManagerEmulator, clock: target.clock });
    this.#clients = new Clients(secretManagerEmulator);
  }

  // The steps of the checks, in order. Each step first awaits the step before it.

  readonly accessedEmpty = once(async () => {
    await this.#create(this.secret);
    return this.access('latest');
  });
  /** Adds version 1. Unlike the function's own call, this call returns the whole answer. */
  readonly first = once(async () => {
    await this.accessedEmpty();
    const data = randomBytes(16);
    this.firstAskedAt = this.target.clock.now();
    return this.#add(this.secret, data, crc32c(data));
  });
  readonly wrongChecksum = once(async () => {
    await this.first();
    const data = randomBytes(16);
    return this.outcome(this.#add(this.secret, data, crc32c(data) ^ 1));
  });
  readonly second = once(async () => {
    await this.wrongChecksum();
    const payload = randomBytes(16);
    await this.#pause();
    return { payload, version: await this.store.add(this.secret, payload, this.limits) };
  });
  readonly third = once(async () => {
    await this.second();
    await this.#pause();
    return this.store.add(this.secret, Buffer.alloc(MAX_PAYLOAD_BYTES, '.'), this.limits);
  });
  readonly listed = once(async () => {
    await this.third();
    let versions: readonly Version[] = [];
    const isShown = await inTime(this.target.clock, TIME_LIMIT, async () => {
      ({ versions } = await this.store.list(this.secret, this.limits));
      return versions.length === 3;
    });
    return { isShown, versions };
  });

  /** Disables version 1 with the function's own call and the etag from the list. */
  readonly disabled = once(async () => {
    const { versions } = await this.listed();
    const version = versions.find(({ number }) => number === 1);
    const newer = versions.at(-1);
    if (version === undefined || newer === undefined) failed('the first version is not listed');
    const isDone = await this.store.disable(this.secret, version, newer, this.limits);
    return { version, isDone };
  });
  readonly accessedDisabled = once(async () => {
    await this.disabled();
    return this.access(1);
  });
  readonly enabled = once(async () => {
    await this.accessedDisabled();
    await this.#pause();
    const client = await this.client();
    const [version] = await client.enableSecretVersion({ name: this.name(1) }, callOptions());
    return version;
  });
  readonly disabledByOldEtag = once(async () => {
    const { version } = await this.disabled();
    await this.enabled();
    await this.#pause();
    const client = await this.client();
    const etag = version.etag ?? '';
    return this.outcome(client.disableSecretVersion({ name: this.name(1), etag }, callOptions()));
  });
  readonly destroyed = once(async () => {
    await this.disabledByOldEtag();
    await this.#pause();
    return this.#destroy(this.secret, 1);
  });
  readonly newestDisabled = once(async () => {
    await this.destroyed();
    const client = await this.client();
    await client.disableSecretVersion({ name: this.name(3) }, callOptions());
  });

  readonly destroyedWithDelay = once(async () => {
    const secret = beside(this.secret, 'delayed');
    await this.#create(secret, { versionDestroyTtl: { seconds: DAY / SECOND } });
    const data = randomBytes(16);
    await this.#add(secret, data, crc32c(data));
    await this.#pause();
    return this.#destroy(secret, 1);
  });

  client(secret = this.secret): Promise<SecretManagerServiceClient> {
    return this.#clients.use(secret, (client) => Promise.resolve(client));
  }

  name(version: number | 'latest', secret = this.secret): string {
    return `${secret.name}/versions/${version}`;
  }

  /** Accesses a version. Returns `OK` or the status of an error. */
  async access(version: number | 'latest', secret = this.secret, at = secret): Promise<string> {
    const client = await this.client(at);
    return this.outcome(
      client.accessSecretVersion({ name: this.name(version, secret) }, callOptions()),
    );
  }

  /** Awaits a call. Returns `OK` or the status of an error. */
  async outcome(call: Promise<unknown>): Promise<string> {
    try {
      await call;
      return 'OK';
    } catch (thrown) {
      return statusName(thrown) ?? failed(reasonOf(thrown));
    }
  }

  async remove(): Promise<string[]> {
    for (const secret of this.#created) {
      const client = await this.client();
      const status = await this.outcome(client.deleteSecret({ name: secret.name }, callOptions()));
      if (status !== 'OK') this.#left.push(`the secret ${secret.name} (${status})`);
    }
    return this.#left;
  }

  async #create(secret: SecretName, fields: object = {}): Promise<void> {
    await this.#agree();
    const client = await this.client();
    const parent = secret.name.replace(/\/secrets\/.*/, '');
    const replication = secret.location === undefined ? { replication: { automatic: {} } } : {};
    const status = await this.outcome(
      client.createSecret(
        { parent, secretId: secret.id, secret: { ...replication, ...fields } },
        callOptions(),
      ),
    );
    if (status === 'OK') {
      this.#created.push(secret);
      return;
    }
    // The tool deletes only secrets that it certainly created. An operator must check the others.
    if (status !== 'ALREADY_EXISTS' && status !== 'PERMISSION_DENIED') {
      this.#left.push(`perhaps the secret ${secret.name} (its creation ended with ${status})`);
    }
    failed(`the secret ${secret.id} could not be created (${status})`);
  }

  async #add(secret: SecretName, data: Uint8Array, checksum: number): Promise<ApiVersion> {
    const client = await this.client(secret);
    const payload = { data, dataCrc32c: checksum };
    return (await client.addSecretVersion({ parent: secret.name, payload }, callOptions()))[0];
  }

  async #destroy(secret: SecretName, version: number): Promise<ApiVersion> {
    const client = await this.client(secret);
    const name = this.name(version, secret);
    return (await client.destroySecretVersion({ name }, callOptions()))[0];
  }

  #pause(): Promise<void> {
    return this.target.clock.sleep(PAUSE);
  }

  readonly #agree = once(async () => {
    const { name } = this.secret;
    const question = `Create the secrets ${name} and ${name}-delayed with four versions, and delete both at the end?`;
    if (!(await this.target.agree(question))) throw new NotChecked('not agreed to');
  });
}

/** The secret with this suffix in the same project and location. */
export function beside(secret: SecretName, suffix: string): SecretName {
  return { ...secret, name: `${secret.name}-${suffix}`, id: `${secret.id}-${suffix}` };
}

/** The secret with the same id in a location, or the global secret with this id. */
export function elsewhere({ project, id }: SecretName, location?: string): SecretName {
  const parent = location === undefined ? '' : `/locations/${location}`;
  const secret = parseSecretName(`projects/${project}${parent}/secrets/${id}`);
  if (secret === undefined)
    throw new Error('The project, the location or the id of the secret is invalid.');
  return secret;
}
