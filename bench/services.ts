import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { Quotas } from '../emulators/secret-manager';

/** What the process of the services is told to do. */
export type Order =
  | { kind: 'env' | 'calls' }
  | { kind: 'create'; secrets: readonly string[]; keys: Keys }
  | { kind: 'delete' | 'orphans'; secrets: readonly string[] }
  | { kind: 'latency'; ms: number }
  | { kind: 'quotas'; quotas: Quotas }
  | { kind: 'limit'; callsPerSecond: number | undefined };

/** Of v1, which are refreshed, or of v2, which are minted. */
export type Keys = 'v1' | 'v2';

/** What is configured of the keys that are minted for a secret. */
export interface Terms {
  readonly role?: string;
  readonly lifetime: string;
}

export type Env = Readonly<Record<string, string>>;

/** The local services in a process of their own, so that what they use is not counted as the function's. */
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
    const { managementKey = '', ...env } = (await services.#tell({ kind: 'env' })) as Env;
    services.#env = env;
    services.#managementKey = managementKey;
    return services;
  }

  /** The function's environment for these secrets, with `others` beside it. */
  env(secrets: readonly string[], others: Env): Env {
    return { ...others, ...this.#env, SECRETS: secrets.join(',') };
  }

  /** The same where keys are minted for them. */
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

  /** Makes secrets with a fresh key in each, and returns their names. Each project has quotas of its own. */
  async createSecrets(count: number, keys: Keys, project = 'bench'): Promise<string[]> {
    const secrets = Array.from(
      { length: count },
      () => `projects/${project}/secrets/momento-api-key-${(this.#secrets += 1)}`,
    );
    await this.#tell({ kind: 'create', secrets, keys });
    return secrets;
  }

  /** Gives secrets a new beginning: one version, with a fresh key, and no others at Momento that were minted for them. */
  async resetSecrets(secrets: readonly string[], keys: Keys): Promise<void> {
    await this.#tell({ kind: 'delete', secrets });
    await this.#tell({ kind: 'create', secrets, keys });
  }

  /** Leaves a key at Momento for each secret that was minted for it two hours ago and is in no version. */
  async leaveOrphans(secrets: readonly string[]): Promise<void> {
    await this.#tell({ kind: 'orphans', secrets });
  }

  async setLatency(ms: number): Promise<void> {
    await this.#tell({ kind: 'latency', ms });
  }

  async setQuotas(quotas: Quotas): Promise<void> {
    await this.#tell({ kind: 'quotas', quotas });
  }

  /** Limits the calls of the key API; undefined for no limit. */
  async setLimit(callsPerSecond: number | undefined): Promise<void> {
    await this.#tell({ kind: 'limit', callsPerSecond });
  }

  /** How often each method was called since this was asked last. */
  async takeCalls(): Promise<Record<string, number>> {
    return (await this.#tell({ kind: 'calls' })) as Record<string, number>;
  }

  /** One call to Secret Manager and nothing else: the measure of a round trip. */
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

  async #tell(order: Order): Promise<object> {
    this.#child.send(order);
    const [answer] = (await once(this.#child, 'message')) as [object];
    return answer;
  }
}
