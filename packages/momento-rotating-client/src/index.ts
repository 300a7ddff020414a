export {
  ClientClosedError,
  InvalidOptionError,
  NoKeyError,
  RotatingClientError,
  type NoKeyCode,
} from './errors.ts';
export {
  RotatingCacheClient,
  type Answer,
  type Call,
  type CallOptions,
  type CloseOptions,
  type Options,
  type RotationEvent,
} from './rotating-cache-client.ts';
export {
  file,
  fromFunction,
  secretManager,
  type KeySource,
  type StoredPayload,
} from './sources.ts';
export {
  subscribe,
  type Discontinuity,
  type RotatingSubscription,
  type SubscribeOptions,
} from './topics.ts';
