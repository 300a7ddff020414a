import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { HttpHost, HttpRefusal, type HttpAnswer, type HttpRequest } from './http-host';
import { Ledger, Emulator } from './emulator';

/** The clock for deliveries and their retries. */
export interface PubSubClock {
  now(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** A message as a publisher sends it. */
export interface Published {
  readonly data?: string | Buffer | undefined;
  readonly attributes?: Readonly<Record<string, string>> | undefined;
}

export interface Subscription {
  /** `projects/P/subscriptions/S` */
  readonly name: string;
  /** `projects/P/topics/T` */
  readonly topic: string;
  readonly pushEndpoint: string;
  /** How long a push waits for an answer. */
  readonly ackDeadlineMs: number;
  readonly minimumBackoffMs: number;
  readonly maximumBackoffMs: number;
  /** The topic for messages that nothing acknowledged in `maxDeliveryAttempts` deliveries. */
  readonly deadLetter?: { readonly topic: string; readonly maxDeliveryAttempts: number };
}

/** One push and its answer. */
export interface Delivery {
  readonly messageId: string;
  readonly attempt: number;
  readonly at: number;
  /** Undefined if there was no answer in time. */
  readonly status: number | undefined;
  readonly body: string;
}

interface Stored {
  readonly messageId: string;
  readonly publishTime: string;
  readonly data: Buffer;
  readonly attributes: Readonly<Record<string, string>>;
}

/** The statuses that acknowledge a message. */
const ACKNOWLEDGED = [102, 200, 201, 202, 204];

const SECOND = 1000;
const MAX_MESSAGE_BYTES = 10 * 1024 * 1024;

/** Pub/Sub's defaults, with the ack deadline of the rotator's subscription. */
const DEFAULTS = {
  ackDeadlineMs: 600 * SECOND,
  minimumBackoffMs: 10 * SECOND,
  maximumBackoffMs: 600 * SECOND,
};

/** The project's number, which Secret Manager writes in events instead of the project's id. */
export const PROJECT_NUMBER = '82150720798';

/**
 * Topics and push subscriptions of Pub/Sub. The emulator repeats a delivery until an answer acknowledges the message, or the
 * message goes to the dead-letter topic. Tests publish in the process, or over HTTP as in Pub/Sub's REST API.
 */
export class PubSubEmulator extends Emulator {
  /** How many copies of a message each subscription gets. Pub/Sub promises at least one delivery, not exactly one. */
  copies = 1;
  /** Every push, in the order of the answers. */
  readonly deliveries: Delivery[] = [];

  readonly #clock: PubSubClock;
  readonly #topics = new Map<string, Stored[]>();
  readonly #subscriptions: Subscription[] = [];
  readonly #inProgress = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  #ids = 2_070_000_000_000_000;

  private constructor(clock: PubSubClock) {
    const http = new HttpHost('pubsub');
    super(http, new Ledger(() => clock.now()));
    this.#clock = clock;
    http.serve({
      Publish: {
        method: 'POST',
        path: /^\/v1\/(?<topic>projects\/[^/]+\/topics\/[^/:]+):publish$/,
        act: (request) => this.#publish(request),
      },
    });
  }

  static start(
    clock: PubSubClock = {
      now: Date.now,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          const timer = setTimeout(resolve, ms);
          const end = (): void => {
            clearTimeout(timer);
            resolve();
          };
          signal?.addEventListener('abort', end, { once: true });
        }),
    },
  ): Promise<PubSubEmulator> {
    return new PubSubEmulator(clock).listen();
  }

  createTopic(name: string): void {
    if (!this.#topics.has(name)) this.#topics.set(name, []);
  }

  /** Pushes messages that are published from now on to the endpoint. */
  subscribe(
    subscription: Pick<Subscription, 'name' | 'topic' | 'pushEndpoint'> & Partial<Subscription>,
  ): void {
    this.#topicOf(subscription.topic);
    this.#subscriptions.push({ ...DEFAULTS, ...subscription });
  }

  /** The ids of the messages that a topic has received. */
  messagesOf(topic: string): string[] {
    return this.#topicOf(topic).map(({ messageId }) => messageId);
  }

  /** @returns the id of the message */
  publish(topic: string, { data = '', attributes = {} }: Published): string {
    const stored: Stored = {
      messageId: String((this.#ids += 1)),
      publishTime: new Date(this.now()).toISOString(),
      data: Buffer.from(data),
      attributes,
    };
    this.#send(topic, stored);
    return stored.messageId;
  }

  /** Publishes an operator request. */
  publishRequest(topic: string, request: object): string {
    return this.publish(topic, { data: JSON.stringify(request) });
  }

  /**
   * Publishes an event as Secret Manager does: with the project's number, and Pacific time in the attributes.
   *
   * @param secret the full name of the secret, with the project's id
   */
  publishEvent(
    topic: string,
    eventType: string,
    secret: string,
    more: Readonly<Record<string, string>> = {},
  ): string {
    // Secret Manager sends this event without a secret's name when the topics of a secret change.
    if (eventType === 'TOPIC_CONFIGURED') return this.publish(topic, { attributes: { eventType } });
    const secretId = secret.replace(/^projects\/[^/]+/, `projects/${PROJECT_NUMBER}`);
    const isVersionEvent = eventType.startsWith('SECRET_VERSION_');
    return this.publish(topic, {
      data: JSON.stringify({ name: isVersionEvent ? `${secretId}/versions/1` : secretId }),
      attributes: {
        eventType,
        dataFormat: 'JSON_API_V1',
        secretId,
        timestamp: pacificTime(this.now()),
        ...(isVersionEvent && { versionId: `${secretId}/versions/1` }),
        ...more,
      },
    });
  }

  /** Delivers an acknowledged message again. */
  redeliver(messageId: string): void {
    for (const [topic, messages] of this.#topics) {
      const message = messages.find((each) => each.messageId === messageId);
      if (message !== undefined) this.#pushToAll(topic, message);
    }
  }

  /** Resolves when every message is acknowledged, or went to the dead-letter topic. */
  async settled(): Promise<void> {
    while (this.#inProgress.size > 0) await Promise.all(this.#inProgress);
  }

  /** The answers to the deliveries of a message, in order. */
  answersTo(messageId: string): (number | undefined)[] {
    return this.deliveries
      .filter((delivery) => delivery.messageId === messageId)
      .map(({ status }) => status);
  }

  override async stop(): Promise<void> {
    this.#stopping.abort();
    await this.settled();
    await super.stop();
  }

  #publish({ parts: { topic = '' }, body }: HttpRequest): HttpAnswer {
    const messages = (body as { messages?: unknown } | undefined)?.messages;
    if (!Array.isArray(messages) || messages.length === 0) throw invalid('messages is empty');
    if (!this.#topics.has(topic)) {
      throw refusal(404, 'NOT_FOUND', `Resource not found (resource=${topic}).`);
    }
    const messageIds = messages.map((message: { data?: string; attributes?: object }) => {
      const { data = '', attributes = {} } = message;
      if (data === '' && Object.keys(attributes).length === 0) throw invalid('empty message');
      if (data.length > MAX_MESSAGE_BYTES) throw invalid('the message is too large');
      return this.publish(topic, {
        data: Buffer.from(data, 'base64'),
        attributes: attributes as Record<string, string>,
      });
    });
    return { answer: { messageIds }, corrupted: {} };
  }

  #send(topic: string, message: Stored): void {
    this.#topicOf(topic).push(message);
    this.changed();
    this.#pushToAll(topic, message);
  }

  #pushToAll(topic: string, message: Stored): void {
    for (const subscription of this.#subscriptions.filter((each) => each.topic === topic)) {
      for (let copy = 0; copy < this.copies; copy += 1) {
        const delivery = this.#deliver(subscription, message).finally(() =>
          this.#inProgress.delete(delivery),
        );
        this.#inProgress.add(delivery);
      }
    }
  }

  async #deliver(subscription: Subscription, message: Stored): Promise<void> {
    const { deadLetter, minimumBackoffMs, maximumBackoffMs } = subscription;
    const { signal } = this.#stopping;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      if (await this.#push(subscription, message, attempt)) return;
      if (deadLetter !== undefined && attempt >= deadLetter.maxDeliveryAttempts) {
        this.#send(deadLetter.topic, {
          ...message,
          messageId: String((this.#ids += 1)),
          attributes: {
            ...message.attributes,
            CloudPubSubDeadLetterSourceDeliveryCount: String(attempt),
            CloudPubSubDeadLetterSourceSubscription: subscription.name.split('/').at(-1) ?? '',
            CloudPubSubDeadLetterSourceSubscriptionProject: subscription.name.split('/')[1] ?? '',
            CloudPubSubDeadLetterSourceTopicPublishTime: message.publishTime,
          },
        });
        return;
      }
      const backoff = Math.min(minimumBackoffMs * 2 ** (attempt - 1), maximumBackoffMs);
      await this.#clock.sleep(backoff, signal);
    }
  }

  async #push(subscription: Subscription, message: Stored, attempt: number): Promise<boolean> {
    const { messageId, publishTime, data, attributes } = message;
    const envelope = {
      message: {
        ...(data.length > 0 && { data: data.toString('base64') }),
        ...(Object.keys(attributes).length > 0 && { attributes }),
        messageId,
        message_id: messageId,
        publishTime,
        publish_time: publishTime,
      },
      subscription: subscription.name,
      ...(subscription.deadLetter !== undefined && { deliveryAttempt: attempt }),
    };
    const at = this.now();
    const answer = await this.#post(subscription, JSON.stringify(envelope));
    this.deliveries.push({
      messageId,
      attempt,
      at,
      status: answer?.status,
      body: answer?.body ?? '',
    });
    return answer !== undefined && ACKNOWLEDGED.includes(answer.status);
  }

  async #post(
    { pushEndpoint, ackDeadlineMs }: Subscription,
    body: string,
  ): Promise<{ readonly status: number; readonly body: string } | undefined> {
    const done = new AbortController();
    const request = httpRequest(pushEndpoint, {
      method: 'POST',
      agent: false,
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)',
      },
    });
    const stop = (): void => void request.destroy();
    this.#stopping.signal.addEventListener('abort', stop, { once: true });
    void this.#clock.sleep(ackDeadlineMs, done.signal).then(() => {
      if (!done.signal.aborted) request.destroy();
    });
    try {
      request.end(body);
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      const chunks: Buffer[] = [];
      for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
      return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() };
    } catch {
      return undefined;
    } finally {
      done.abort();
      this.#stopping.signal.removeEventListener('abort', stop);
    }
  }

  #topicOf(name: string): Stored[] {
    const messages = this.#topics.get(name);
    if (messages === undefined) throw new Error(`no topic ${name}`);
    return messages;
  }
}

/** RFC 3339 with the offset of Pacific time and without trailing zeros, as Secret Manager writes it. */
function pacificTime(epochMs: number): string {
  const parts = new Intl.DateTimeFormat('en-US', {
    timeZone: 'America/Los_Angeles',
    timeZoneName: 'longOffset',
  }).formatToParts(epochMs);
  const offset = parts.find(({ type }) => type === 'timeZoneName')?.value.slice(3) ?? '-08:00';
  const local = new Date(epochMs + Number(offset.slice(0, 3)) * 3600 * SECOND).toISOString();
  return local.replace(/\.?0*Z$/, '') + offset;
}

function invalid(message: string): HttpRefusal {
  return refusal(400, 'INVALID_ARGUMENT', message);
}

function refusal(code: number, status: string, message: string): HttpRefusal {
  return new HttpRefusal(code, { error: { code, message, status } });
}
