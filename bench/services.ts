import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { Quotas } from '../test/emulators/secret-manager';

/** What the process of the services is told to do. */
export type Order =
  | { kind: 'hosts' | 'calls' }
  | { kind: 'create' | 'delete'; secrets: readonly string[] }
  | { kind: 'latency'; ms: number }
  | { kind: 'quotas'; quotas: Quotas };

/** The two local services in a process of their own, so that what they use is not counted as the function's. */
export class Services {
  readonly #child: ChildProcess;
  #env: Readonly<Record<string, string>> = {};
  #client: Client | undefined;
  #secrets = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(): Promise<Services> {
    const services = new Services(fork(resolve(__dirname, 'services-process.ts')));
    const hosts = (await services.#tell({ kind: 'hosts' })) as Record<string, string>;
    services.#env = {
      SECRET_MANAGER_EMULATOR_HOST: hosts.secretManager ?? '',
      MOMENTO_EMULATOR_HOST: hosts.momento ?? '',
    };
    return services;
  }

  /** The function's environment for these secrets, with `others` beside it. */
  env(
    secrets: readonly string[],
    others: Readonly<Record<string, string>>,
  ): Record<string, string> {
    return { ...others, ...this.#env, SECRETS: secrets.join(',') };
  }

  /** Makes secrets with a fresh key in each, and returns their names. Each project has quotas of its own. */
  async createSecrets(count: number, project = 'bench'): Promise<string[]> {
    const secrets = Array.from(
      { length: count },
      () => `projects/${project}/secrets/momento-api-key-${(this.#secrets += 1)}`,
    );
    await this.#tell({ kind: 'create', secrets });
    return secrets;
  }

  /** Gives secrets a new beginning: one version, with a fresh key. */
  async resetSecrets(secrets: readonly string[]): Promise<void> {
    await this.#tell({ kind: 'delete', secrets });
    await this.#tell({ kind: 'create', secrets });
  }

  async setLatency(ms: number): Promise<void> {
    await this.#tell({ kind: 'latency', ms });
  }

  async setQuotas(quotas: Quotas): Promise<void> {
    await this.#tell({ kind: 'quotas', quotas });
  }

  /** How often each method was called since this was asked last. */
  async takeCalls(): Promise<Record<string, number>> {
    return (await this.#tell({ kind: 'calls' })) as Record<string, number>;
  }

  /** One call to Secret Manager and nothing else: the measure of a round trip. */
  async access(secret: string): Promise<void> {
    this.#client ??= new Client(
      this.#env.SECRET_MANAGER_EMULATOR_HOST ?? '',
      credentials.createInsecure(),
    );
    const version = `${secret}/versions/latest`;
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
