/** What the tests of v2 keys have in common: the local services, and the function's rooms behind its HTTP side. */
import { Rotator } from '../../src/rotation/rotator';
import type { StatusReport } from '../../src/rotation/status';
import { MomentoKeys } from '../../src/momento/issuer';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult, RunResult } from '../../src/rotation/result';
import type { RunOptions } from '../../src/rotation/run';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { SecretName } from '../../src/secret-name';
import type { Key } from '../emulators/account';
import type { Moment } from '../emulators/faults';
import { leaks } from '../leaks';
import { DAY, HOUR, keyIn, LocalServices } from './support';

export { DAY, HOUR };
export const MINUTE = HOUR / 60;

/** How long a run may take, as with the function's default timeout. */
const RUN_MS = 525_000;

export const ROLE = 'r-viewer';

/** Every run rotates, and ends at once what it replaces. */
export const REVOKES: Partial<RenewalPolicy> = { revoke: true, gracePeriodMs: 0 };

export interface Setup {
  readonly policy?: Partial<RenewalPolicy>;
  readonly managementKey?: SecretName;
  readonly endpoint?: string;
  readonly refreshPath?: string;
}

/** Services and rotators for the tests of one file. Nothing secret may be told, and readers have to be served. */
export class World {
  services!: LocalServices;
  #store!: SecretManagerStore;
  #told: unknown[] = [];

  constructor() {
    beforeAll(async () => {
      this.services = await LocalServices.start();
      this.#store = new SecretManagerStore({
        emulator: this.services.secretManager.host,
        clock: this.services.clock,
      });
    });
    afterAll(() => this.services.stop());
    beforeEach(() => {
      this.services.reset();
      this.#told = [];
    });
    afterEach(() => {
      expect(this.services.complaints).toEqual([]);
      expect(leaks(this.services.secrets, [JSON.stringify(this.#told)])).toEqual([]);
    });
  }

  /** A rotator as each instance of the function has its own. */
  fleet(secrets: readonly Secret[], { policy, managementKey, ...momento }: Setup = {}): Rotator {
    const { clock, momento: local, keyApi } = this.services;
    const whole = { gracePeriodMs: 0, verify: true, revoke: false, ...policy };
    const emulators = { emulator: local.host, keyApiEmulator: keyApi.host };
    const keys = new MomentoKeys({ ...emulators, ...momento, clock });
    const options = { secrets, store: this.#store, keys, policy: whole, clock };
    return new Rotator({ ...options, ...(managementKey && { managementKey }) });
  }

  /** One request to an instance that has just started. */
  async request(
    secrets: readonly Secret[],
    setup: Setup = {},
    options: Partial<RunOptions> = {},
  ): Promise<RunResult[]> {
    const deadline = this.services.clock.monotonic() + RUN_MS;
    const all = { force: false, dryRun: false, deadline, ...options };
    const fleet = this.fleet(secrets, setup);
    const reports = await fleet.rotate(secrets, all, () => undefined);
    this.#told.push(reports);
    return reports;
  }

  /** The same for one secret. */
  async rotate(
    secret: Secret,
    setup: Setup = {},
    options: Partial<RunOptions> = {},
  ): Promise<RotationResult> {
    const [report] = await this.request([secret], setup, options);
    if (report === undefined) throw new Error('a run without a report');
    return report.result;
  }

  async look(secret: Secret, setup: Setup = {}): Promise<StatusReport['status']> {
    const [look] = await this.fleet([secret], setup).status();
    if (look === undefined) throw new Error('a look without a result');
    this.#told.push(look);
    return look.status;
  }

  /** A secret without a version, as the configuration has it. */
  secret(configured: Omit<Partial<Secret>, keyof SecretName> = {}): Secret {
    const name = this.services.newName();
    this.services.secretManager.createSecret(name.name);
    return { ...name, payload: 'json', ...configured };
  }

  /** Stores a payload as a new version; from then on readers of the secret have to be served. */
  store(secret: SecretName, payload: string, since = 0): void {
    const { secretManager, clock } = this.services;
    secretManager.addVersion(secret.name, payload, { createTime: clock.now() - since });
    this.services.watch(secret);
  }

  /** A secret that holds a key from the console. */
  held(
    configured: Omit<Partial<Secret>, keyof SecretName> = {},
    key: Parameters<LocalServices['momento']['issueV2Key']>[0] = {},
    form: 'apiJson' | 'consoleJson' | 'apiKey' = 'apiJson',
  ): Secret {
    const secret = this.secret(configured);
    this.store(secret, this.services.momento.issueV2Key(key)[form]);
    return secret;
  }

  /** A secret with a key that may manage keys. */
  managementKey(role = 'r-operator'): SecretName {
    return this.held({}, { role, lifetimeSeconds: 365 * 24 * 3600, description: 'management' });
  }

  /** A key as the rotator mints it, some time ago. */
  minted(secret: SecretName, { age = 2 * HOUR, description = '' } = {}): Key {
    const { account } = this.services.momento;
    const { now } = account;
    account.now = () => now() - age;
    const expiresAt = Math.floor((account.now() + 30 * DAY) / 1000);
    const ours = `momento-key-rotator ${secret.name}`;
    const terms = { role: ROLE, expiresAt, withRefreshToken: false };
    const key = account.issue({ ...terms, description: description || ours }, 'call');
    account.now = now;
    return key;
  }

  payload({ name }: SecretName): string {
    const payload = this.services.secretManager.latest(name);
    if (payload === undefined) throw new Error(`readers of ${name} get nothing`);
    return payload.toString();
  }

  fields(secret: SecretName): Record<string, unknown> {
    return JSON.parse(this.payload(secret)) as Record<string, unknown>;
  }

  /** The key that readers of `latest` get. */
  keyOf(secret: SecretName): Key {
    const key = this.services.momento.account.find(keyIn(Buffer.from(this.payload(secret))));
    if (key === undefined) throw new Error('it is no v2 key of the account');
    return key;
  }

  /** The keys of ours that work, oldest first. */
  live({ name }: SecretName): string[] {
    const { account } = this.services.momento;
    return account
      .keys(`momento-key-rotator ${name}`)
      .filter((key) => account.isLive(key))
      .map(({ info }) => info.key_id);
  }

  setState({ name }: SecretName, version: string, state: 'ENABLED' | 'DISABLED'): void {
    this.services.secretManager.setState(name, version, state);
  }

  /** Lets something happen once, around a method's first call from now on. */
  when(moment: `${Moment} ${string}`, act: () => unknown): void {
    const { secretManager, momento, keyApi } = this.services;
    let isDone = false;
    for (const { faults } of [secretManager, momento, keyApi]) {
      faults.intercept = async ({ method }, now) => {
        if (isDone || moment !== `${now} ${method}`) return;
        isDone = true;
        await act();
      };
    }
  }
}
