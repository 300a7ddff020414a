import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { Quotas } from '../emulators/secret-manager';

/** A message to the emulators' process. */
export type Command =
  | { kind: 'env' | 'calls' }
  | { kind: 'create'; secrets: readonly string[]; keys: Keys }
  | { kind: 'delete' | 'orphans'; secrets: readonly string[] }
  | { kind: 'versions'; secrets: readonly string[]; count: number }
  | { kind: 'latency'; ms: number }
  | { kind: 'quotas'; quotas: Quotas }
  | { kind: 'limit'; callsPerSecond: number | undefined };

/** v1 keys are refreshed, v2 keys are minted. */
export type Keys = 'v1' | 'v2';

/** The configured properties of minted keys. */
export interface Terms {
  readonly role?: string;
  readonly lifetime: string;
}

export type Env = Readonly<Record<string, string>>;

/** The emulators in a process of their own, so that their CPU time doesn't count as the function's. */
export class Services {
  readonly #child: ChildProcess;
  #env: Env = {};
  #managementKey = '';
  #client: Client | undefined;
  #secrets = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(): Promise<Services> {
    const services = new Services(fork(resolve(__dirname, 'services-process.ts')));
    const { managementKey = '', ...env } = (await services.#send({ kind: 'env' })) as Env;
    services.#env = env;
    services.#managementKey = managementKey;
    return services;
  }

  /** The function's environment for these secrets, with `others` beside it. */
  env(secrets: readonly string[], others: Env): Env {
    return { ...others, ...this.#env, SECRETS: secrets.join(',') };
  }

  /** The function's environment for these secrets with minted keys, with `others` beside it. */
  mintingEnv(
    secrets: readonly string[],
    others: Env,
    terms: Terms = { role: 'r-viewer', lifetime: '30d' },
  ): Env {
    return {
      ...this.env(secrets, others),
      SECRETS: JSON.stringify(secrets.map((name) => ({ name, ...terms }))),
      MANAGEMENT_KEY: this.#managementKey,
    };
  }

  /** Creates secrets with a fresh key in each, and returns their names. Each project has quotas of its own. */
  async createSecrets(count: number, keys: Keys, project = 'bench'): Promise<string[]> {
    const secrets = Array.from(
      { length: count },
      () => `projects/${project}/secrets/momento-api-key-${(this.#secrets += 1)}`,
    );
    await this.#send({ kind: 'create', secrets, keys });
    return secrets;
  }

  /** Recreates secrets with one version, which has a fresh key, and revokes all other keys that were minted for them. */
  async resetSecrets(secrets: readonly string[], keys: Keys): Promise<void> {
    await this.#send({ kind: 'delete', secrets });
    await this.#send({ kind: 'create', secrets, keys });
  }

  /** Mints an orphaned key for each secret, dated two hours ago. */
  async leaveOrphans(secrets: readonly string[]): Promise<void> {
    await this.#send({ kind: 'orphans', secrets });
  }

  /** Adds versions with a v1 key each, up to `count`. */
  async addVersions(secrets: readonly string[], count: number): Promise<void> {
    await this.#send({ kind: 'versions', secrets, count });
  }

  async setLatency(ms: number): Promise<void> {
    await this.#send({ kind: 'latency', ms });
  }

  async setQuotas(quotas: Quotas): Promise<void> {
    await this.#send({ kind: 'quotas', quotas });
  }

  /** Limits the calls of the key API; undefined for no limit. */
  async setLimit(callsPerSecond: number | undefined): Promise<void> {
    await this.#send({ kind: 'limit', callsPerSecond });
  }

  /** Number of calls of each method since the last call of this method. */
  async takeCalls(): Promise<Record<string, number>> {
    return (await this.#send({ kind: 'calls' })) as Record<string, number>;
  }

  /** One call to Secret Manager, which measures a round trip. */
  async access(): Promise<void> {
    this.#client ??= new Client(
      this.#env.SECRET_MANAGER_EMULATOR_HOST ?? '',
      credentials.createInsecure(),
    );
    const version = `${this.#managementKey}/versions/latest`;
    const name = Buffer.from(version);
    const metadata = new Metadata();
    metadata.set('x-goog-request-params', `name=${encodeURIComponent(version)}`);
    const request = Buffer.from([0x0a, name.length, ...name]);
    const unchanged = (bytes: Buffer): Buffer => bytes;
    await new Promise<void>((done, fail) => {
      this.#client?.makeUnaryRequest(
        '/google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion',
        unchanged,
        unchanged,
        request,
        metadata,
        (error) => (error === null ? done() : fail(error)),
      );
    });
  }

  stop(): void {
    this.#client?.close();
    this.#child.disconnect();
  }

  async #send(command: Command): Promise<object> {
    this.#child.send(command);
    const [answer] = (await once(this.#child, 'message')) as [object];
    return answer;
  }
}
