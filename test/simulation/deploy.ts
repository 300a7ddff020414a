/** An instance of the function in this process, without a server. */
import type { Clock } from '../../src/clock';
import { createHandler, type Handler } from '../../src/http/handler';
import type { LogEntry } from '../../src/log';
import { MomentoKeys } from '../../src/momento/issuer';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { Secret } from '../../src/rotation/ports';
import { Rotator } from '../../src/rotation/rotator';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { secretName } from './stage';

export interface DeployOptions {
  readonly clock: Clock;
  readonly emulators: Readonly<Record<'secretManager' | 'momento' | 'keyApi', { host: string }>>;
  readonly timeoutMs: number;
  readonly secrets: readonly (Pick<Secret, 'name'> & Partial<Secret>)[];
  /** The name of its secret. */
  readonly managementKey?: string | undefined;
  readonly policy?: Partial<RenewalPolicy> | undefined;
}

export interface Deployment {
  readonly handler: Handler;
  readonly log: LogEntry[];
}

export function deploy({ clock, emulators, timeoutMs, ...options }: DeployOptions): Deployment {
  const { secretManager, momento, keyApi } = emulators;
  const store = new SecretManagerStore({ emulator: secretManager.host, clock });
  const keys = new MomentoKeys({ emulator: momento.host, keyApiEmulator: keyApi.host, clock });
  const rotator = new Rotator({
    secrets: options.secrets.map((secret) => ({
      payload: 'json',
      ...secret,
      ...secretName(secret.name),
    })),
    managementKey:
      options.managementKey === undefined ? undefined : secretName(options.managementKey),
    store,
    keys,
    policy: { gracePeriodMs: 0, verify: true, revoke: false, ...options.policy },
    clock,
  });
  const log: LogEntry[] = [];
  const handler = createHandler({
    rotator,
    timeoutMs,
    traceProject: 'p',
    clock,
    log: (entry) => log.push(entry),
  });
  return { handler, log };
}
