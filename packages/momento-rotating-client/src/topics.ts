import { setTimeout as sleep } from 'node:timers/promises';
import {
  MomentoErrorCode,
  TimeoutError,
  TopicClient,
  TopicItem,
  TopicSubscribe,
  type CredentialProvider,
  type Middleware,
  type TopicConfiguration,
} from '@gomomento/sdk';
import { shared, unlessAborted, type RotatingCacheClient } from './rotating-cache-client.ts';

export interface SubscribeOptions {
  /** The client timeout of the configuration limits the wait for the service's first message. */
  readonly configuration: TopicConfiguration;
  /** Receives each item once. */
  readonly onItem: (item: TopicItem) => void;
  /** Items might be missing here: the service couldn't resume the subscription, or it skipped items. */
  readonly onDiscontinuity: (discontinuity: Discontinuity) => void;
  /** The subscription has ended, and a newer key doesn't help: the cache doesn't exist, or the key has no permission. */
  readonly onError: (error: TopicSubscribe.Error) => void;
  /** Ends the subscription, as `unsubscribe()` does. */
  readonly signal?: AbortSignal | undefined;
}

export interface Discontinuity {
  /** The item after which items might be missing; undefined if none was received. */
  readonly lastSequenceNumber: number | undefined;
  /** The item before the next one; undefined if it isn't known yet. The numbers of a topic that was reset start again. */
  readonly newSequenceNumber: number | undefined;
}

/** Fields of Momento's messages `_SubscriptionRequest` and `_SubscriptionItem`, which the SDK doesn't give to applications. */
interface RequestMessage {
  resume_at_topic_sequence_number: number;
  sequence_page: number;
}
interface ResponseMessage {
  readonly item?: {
    readonly topic_sequence_number: number;
    readonly sequence_page: number;
    readonly publisher_id: string;
    readonly value: { readonly kind: string; readonly text: string; readonly binary: Uint8Array };
  };
  readonly discontinuity?: {
    readonly new_topic_sequence: number;
    readonly new_sequence_page: number;
  };
}

/** The last item that was received or skipped. A topic that is reset gets another page, and numbers from 1 again. */
interface Position {
  readonly page: number;
  readonly number: number;
}

const REJECTED = MomentoErrorCode.AUTHENTICATION_ERROR;
/** A newer key and a later attempt don't change these answers. */
const FINAL: readonly string[] = [
  MomentoErrorCode.CACHE_NOT_FOUND_ERROR,
  MomentoErrorCode.PERMISSION_ERROR,
  MomentoErrorCode.INVALID_ARGUMENT_ERROR,
  MomentoErrorCode.CANCELLED_ERROR,
];
const FIRST_BACKOFF_MS = 1000;
const LONGEST_BACKOFF_MS = 60_000;
/**
 * A request timeout that is never reached. The SDK (1.118) applies the request timeout to the whole first stream of a
 * subscription. At the timeout, the SDK ends the stream and starts it again 500 ms later.
 */
const NO_DEADLINE_MS = 10 * 365 * 24 * 3_600_000;

/**
 * Subscribes to a topic with the key of `client`. In the SDK an authentication error ends a subscription. A rotating
 * subscription subscribes again with the newer key, from the last item on.
 *
 * @returns the subscription, or the SDK's error
 * @throws NoKeyError if there is no usable key
 */
export async function subscribe(
  client: RotatingCacheClient,
  cacheName: string,
  topicName: string,
  options: SubscribeOptions,
): Promise<RotatingSubscription | TopicSubscribe.Error> {
  const subscription = new RotatingSubscription(client, cacheName, topicName, options);
  const error = await subscription.start();
  return error ?? subscription;
}

export class RotatingSubscription implements Disposable {
  readonly #client: RotatingCacheClient;
  readonly #cacheName: string;
  readonly #topicName: string;
  readonly #options: SubscribeOptions;
  readonly #configuration: TopicConfiguration;
  readonly #firstMessageTimeoutMs: number;
  readonly #middlewares: readonly Middleware[];
  readonly #unsubscribed = new AbortController();
  readonly #end: AbortSignal;
  /** The key that Momento rejected last. */
  #rejected: CredentialProvider | undefined;
  /** How long to wait before the next stream, in milliseconds. A stream can end right after its first message. */
  #wait = 0;
  #stream: TopicSubscribe.Subscription | undefined;
  /** Identifies the current stream. Others are abandoned. */
  #streamId = {};
  /** Whether the service has sent a message. */
  #hasBegun = false;
  #position: Position | undefined;
  /** Whether an earlier stream has begun, and the current stream began without a position. */
  #hasGap = false;

  constructor(
    client: RotatingCacheClient,
    cacheName: string,
    topicName: string,
    options: SubscribeOptions,
  ) {
    this.#client = client;
    this.#cacheName = cacheName;
    this.#topicName = topicName;
    this.#options = options;
    this.#middlewares = options.configuration.getMiddlewares();
    this.#configuration = options.configuration
      .withMiddlewares([...this.#middlewares.map(shared), this.#middleware()])
      .withClientTimeoutMillis(NO_DEADLINE_MS)
      .withNumStreamConnections(1)
      .withNumUnaryConnections(1);
    const transport = options.configuration.getTransportStrategy();
    this.#firstMessageTimeoutMs = transport.getGrpcConfig().getDeadlineMillis();
    const { signal } = options;
    this.#end = AbortSignal.any([
      this.#unsubscribed.signal,
      client.closing,
      ...(signal ? [signal] : []),
    ]);
  }

  /** @returns the SDK's error if the first attempt fails */
  async start(): Promise<TopicSubscribe.Error | undefined> {
    this.#end.throwIfAborted();
    for (const middleware of this.#middlewares) middleware.init?.();
    this.#end.addEventListener('abort', () => this.#stop(), { once: true });
    const error = await this.#subscribe();
    if (error) this.unsubscribe();
    return error;
  }

  /** Whether items are received, or the subscription is being resumed. */
  get isSubscribed(): boolean {
    return !this.#end.aborted;
  }

  unsubscribe(): void {
    this.#unsubscribed.abort();
  }

  [Symbol.dispose](): void {
    this.unsubscribe();
  }

  #stop(): void {
    this.#stream?.unsubscribe();
    for (const middleware of this.#middlewares) middleware.close?.();
  }

  /** Subscribes with the key in use. If Momento rejects that key, subscribes with a newer key. */
  async #subscribe(): Promise<TopicSubscribe.Error | undefined> {
    for (;;) {
      const signal = this.#end;
      const rejected = this.#rejected;
      const credentialProvider = await this.#client.credentialProvider({ signal, rejected });
      const answer = await this.#open(credentialProvider);
      if (answer instanceof TopicSubscribe.Subscription) return undefined;
      if (answer.errorCode() !== REJECTED || credentialProvider === rejected) return answer;
      this.#rejected = credentialProvider;
    }
  }

  async #open(credentialProvider: CredentialProvider): Promise<TopicSubscribe.Response> {
    const id = (this.#streamId = {});
    const openedAt = performance.now();
    const topics = new TopicClient({ credentialProvider, configuration: this.#configuration });
    const opening = topics.subscribe(this.#cacheName, this.#topicName, {
      onError: (error, stream) => {
        // The SDK also reports items that it can't read, and goes on.
        if (stream.isSubscribed || !this.#isCurrent(id)) return;
        const isRejected = error.errorCode() === REJECTED;
        const isNewlyRejected = isRejected && this.#rejected !== credentialProvider;
        const hasLasted = performance.now() - openedAt > LONGEST_BACKOFF_MS;
        if (isNewlyRejected || hasLasted) this.#wait = 0;
        this.#rejected = isRejected ? credentialProvider : undefined;
        void this.#resubscribe(error);
      },
    });
    void opening.then((answer) => {
      if (!(answer instanceof TopicSubscribe.Subscription)) return;
      if (this.#isCurrent(id)) this.#stream = answer;
      else answer.unsubscribe();
    });
    const timeout = AbortSignal.timeout(this.#firstMessageTimeoutMs);
    return unlessAborted(opening, AbortSignal.any([this.#end, timeout])).catch((error: unknown) => {
      this.#streamId = {};
      if (this.#end.aborted) throw error;
      return new TopicSubscribe.Error(new TimeoutError('The service sent no first message.'));
    });
  }

  #isCurrent(streamId: object): boolean {
    return streamId === this.#streamId && !this.#end.aborted;
  }

  async #resubscribe(first: TopicSubscribe.Error): Promise<void> {
    let error: TopicSubscribe.Error | undefined = first;
    for (; error; this.#wait = Math.min(2 * this.#wait || FIRST_BACKOFF_MS, LONGEST_BACKOFF_MS)) {
      if (FINAL.includes(error.errorCode())) {
        const final = error;
        this.unsubscribe();
        this.#call(() => this.#options.onError(final));
        return;
      }
      try {
        // Jitter: many processes that are rejected together must not subscribe together.
        await sleep(this.#wait * (1 - Math.random() / 5), undefined, { signal: this.#end });
        error = await this.#subscribe();
      } catch {
        // If the subscription hasn't ended, the source has no usable key now, and the client's event hook has reported that.
        if (this.#end.aborted) return;
      }
    }
  }

  /** Lets every stream begin at the position, even a stream that the SDK starts again, and reads the sequence numbers. */
  #middleware(): Middleware {
    return {
      onNewRequest: () => ({
        onRequestMetadata: (metadata) => Promise.resolve(metadata),
        onRequestBody: (request) => {
          this.#resume(request._grpcMessage as unknown as RequestMessage);
          return Promise.resolve(request);
        },
        onResponseMetadata: (metadata) => Promise.resolve(metadata),
        onResponseBody: (response) => {
          if (response && !this.#end.aborted) {
            this.#receive(response._grpcMessage as unknown as ResponseMessage);
          }
          return Promise.resolve(response);
        },
        onResponseStatus: (status) => Promise.resolve(status),
      }),
    };
  }

  #resume(request: RequestMessage): void {
    this.#hasGap = this.#hasBegun && this.#position === undefined;
    // The service starts at the newest item if the number is 0.
    request.resume_at_topic_sequence_number = this.#position ? this.#position.number + 1 : 0;
    request.sequence_page = this.#position?.page ?? 0;
  }

  #receive({ item, discontinuity }: ResponseMessage): void {
    this.#hasBegun = true;
    if (item) {
      const { topic_sequence_number: number, sequence_page: page, publisher_id, value } = item;
      if (this.#has({ page, number })) return;
      this.#skipTo({ page, number: number - 1 });
      this.#position = { page, number };
      const content = value.kind === 'binary' ? value.binary : value.text;
      const received = new TopicItem(content, number, { tokenId: publisher_id });
      this.#call(() => this.#options.onItem(received));
    } else if (discontinuity) {
      const { new_sequence_page: page, new_topic_sequence: number } = discontinuity;
      this.#skipTo({ page, number });
    } else if (this.#hasGap) {
      this.#reportGap(undefined);
    }
  }

  /** Whether everything up to this position was received or reported. */
  #has({ page, number }: Position): boolean {
    return page === this.#position?.page && number <= this.#position.number;
  }

  /** Moves the position to `next`, and reports the items in between as missing. */
  #skipTo(next: Position): void {
    if (this.#has(next)) return;
    // The subscription begins at the first position that the service names, so no item is missing before it.
    const isFirst = this.#position === undefined && !this.#hasGap;
    if (!isFirst) this.#reportGap(next.number);
    this.#position = next;
  }

  #reportGap(newSequenceNumber: number | undefined): void {
    this.#hasGap = false;
    const lastSequenceNumber = this.#position?.number;
    this.#call(() => this.#options.onDiscontinuity({ lastSequenceNumber, newSequenceNumber }));
  }

  /** Calls the application. An exception must not stop the stream, so it becomes uncaught, as in an event listener. */
  #call(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }
}
