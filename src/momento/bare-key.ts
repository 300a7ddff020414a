/** A payload that is the key and nothing else, as many applications read it. */
import type { RotationError } from '../errors';
import { invalid, type Issued, type Payload } from './payload';

export class BareKey implements Payload {
  readonly refreshToken = undefined;
  readonly told = {};

  constructor(readonly apiKey: string) {}

  renewed({ apiKey }: Issued): BareKey {
    return new BareKey(apiKey);
  }

  serialize(): Buffer {
    return Buffer.from(this.apiKey);
  }

  noExpiry(): RotationError {
    return invalid('a bare key does not say when it expires');
  }
}
