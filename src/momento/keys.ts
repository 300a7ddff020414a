/** Momento as a source of keys. */
import type { Clock } from '../retry';
import type { KeySource } from '../rotation/ports';
import { Credential } from './credential';
import { KeyApi } from './key-api';
import { Pace } from './pace';
import { Sdk } from './sdk';
import { MomentoSession } from './session';
import { REMEDY, VENDOR } from './words';

export interface MomentoOptions {
  /** `host:port` of a local service in place of Momento's (gRPC). */
  readonly emulator?: string | undefined;
  /** The same for the key API (HTTP). */
  readonly keyApiEmulator?: string | undefined;
  /** The host to verify v2 keys with whose payload names none. */
  readonly endpoint?: string | undefined;
  /** Where a v2 refresh token is spent. */
  readonly refreshPath?: string | undefined;
  readonly clock: Clock;
}

export class MomentoKeys implements KeySource {
  readonly vendor = VENDOR;
  readonly remedy = REMEDY;
  readonly #options: MomentoOptions;
  readonly #now: () => number;
  readonly #sdk: Sdk;
  /** Of all sessions: the limit is the account's. */
  readonly #pace: Pace;

  constructor(options: MomentoOptions) {
    const { emulator, clock } = options;
    this.#options = options;
    this.#now = () => clock.now();
    this.#sdk = new Sdk(emulator);
    this.#pace = new Pace(clock);
  }

  parse(payload: Uint8Array): Credential {
    return Credential.parse(payload);
  }

  open(managementKey: (() => Promise<Uint8Array>) | undefined): MomentoSession {
    const { keyApiEmulator: emulator, refreshPath, endpoint } = this.#options;
    const now = this.#now;
    const api = new KeyApi({ emulator, refreshPath, pace: this.#pace, now });
    return new MomentoSession({ sdk: this.#sdk, api, endpoint, now, managementKey });
  }
}
