import { createServer, type AddressInfo, type Server as Listener, type Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { FaultPlan, type Service } from './faults';
import type { Detail } from './google-rpc';
import type { Host } from './emulator';

/** The answer of a method, and the answer that arrives instead if a fault corrupts it. */
export interface Answer<Response> {
  answer: Response;
  corrupted: Response;
}

/**
 * Carries out a call and returns the answer, in one synchronous step, so that no other call can interleave. Throws a
 * `Refusal` for an error status.
 */
export type Method<Request, Response> = (
  request: Request,
  metadata: grpc.Metadata,
  /** The `:authority` of the call, which can differ from the address of the connection. */
  authority: string,
) => Answer<Response>;

/** The messages to one subscriber. */
export interface Stream<Message> {
  send(message: Message): void;
  /** Ends the stream with an error status. */
  fail(refusal: Refusal): void;
  /** Calls `listener` when the subscriber ends the stream or its connection ends. */
  onEnd(listener: () => void): void;
}

/** Begins a stream. It throws a `Refusal` for an error status. */
export type StreamMethod<Request> = (
  request: Request,
  metadata: grpc.Metadata,
  stream: Stream<object>,
) => void;

/** Runs before every method, also before an unimplemented one. Throws a `Refusal` to refuse the call. */
export type Gate = (
  method: string,
  request: unknown,
  call: { readonly metadata: grpc.Metadata; readonly authority: string },
) => void;

/** An error status with the text that the client sees. */
export class Refusal extends Error {
  constructor(
    readonly code: grpc.status,
    readonly details: string,
    /** Error details that replace the usual details of the service. */
    readonly info: readonly Detail[] = [],
  ) {
    super(details);
  }
}

/** Returns the metadata that a service sends with an error. */
export type Describe = (refusal: Refusal) => grpc.Metadata;

/** Serves unary and server-streaming gRPC methods on a plaintext loopback port, with the faults of a plan. */
export class GrpcHost implements Host {
  readonly faults = new FaultPlan();
  readonly #service: Service;
  readonly #describe: Describe;
  // To drop a connection, the host needs its socket. grpc-js doesn't expose the sockets that it accepts.
  readonly #listener: Listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  readonly #sockets = new Map<string, Socket>();
  readonly #server = new grpc.Server({ 'grpc.enable_channelz': 0 });
  readonly #injector = this.#server.createConnectionInjector(
    grpc.ServerCredentials.createInsecure(),
  );
  readonly #stopping = new AbortController();

  constructor(service: Service, describe: Describe = () => new grpc.Metadata()) {
    this.#service = service;
    this.#describe = describe;
  }

  /** Adds a service. Unary methods that `methods` lacks fail with UNIMPLEMENTED. */
  serve(
    definition: grpc.ServiceDefinition,
    methods: Readonly<Record<string, Method<never, object>>>,
    gate: Gate = () => undefined,
    streams: Readonly<Record<string, StreamMethod<never>>> = {},
  ): void {
    const gated =
      (name: string): Method<never, object> =>
      (request, metadata, authority) => {
        gate(name, request, { metadata, authority });
        return (methods[name] ?? unimplemented(name))(request, metadata, authority);
      };
    const unary = Object.entries(definition).filter(
      ([, { requestStream, responseStream }]) => !requestStream && !responseStream,
    );
    this.#server.addService(definition, {
      ...Object.fromEntries(
        unary.map(([name]) => [
          name,
          (
            call: grpc.ServerUnaryCall<unknown, unknown>,
            callback: grpc.sendUnaryData<unknown>,
          ): void => void this.#handle(name, gated(name), call, callback),
        ]),
      ),
      ...Object.fromEntries(
        Object.entries(streams).map(([name, method]) => [
          name,
          (call: grpc.ServerWritableStream<unknown, unknown>): void =>
            void this.#handleStream(name, method, call),
        ]),
      ),
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#listener.listen(0, '127.0.0.1', resolve));
    const { address, port } = this.#listener.address() as AddressInfo;
    return `${address}:${port}`;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    for (const socket of this.#sockets.values()) socket.destroy();
    this.#injector.destroy();
    this.#server.forceShutdown();
    await closed;
  }

  #accept(socket: Socket): void {
    const peer = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? 0}`;
    this.#sockets.set(peer, socket);
    socket.on('close', () => this.#sockets.delete(peer));
    this.#injector.injectConnection(socket);
  }

  async #handle(
    name: string,
    method: Method<never, object>,
    call: grpc.ServerUnaryCall<unknown, unknown>,
    callback: grpc.sendUnaryData<unknown>,
  ): Promise<void> {
    const { signal } = this.#stopping;
    const peer = call.getPeer();
    const received = this.faults.receive(this.#service, name, call.request);
    let reply: (corrupt: boolean) => void;
    try {
      await this.faults.conduct(
        received,
        {
          act: () => {
            try {
              const { answer, corrupted } = method(
                call.request as never,
                call.metadata,
                call.getHost(),
              );
              reply = (corrupt) => callback(null, corrupt ? corrupted : answer);
            } catch (error) {
              reply = () => callback(this.#statusOf(error));
            }
          },
          answer: (garbling) => {
            if (garbling !== undefined && garbling !== 'corrupt') {
              throw notOfGrpc(typeof garbling === 'string' ? garbling : 'rewrite');
            }
            reply(garbling === 'corrupt');
          },
          fail: (failure) => {
            if (failure.kind !== 'error') throw notOfGrpc(failure.kind);
            callback(this.#statusOf(new Refusal(failure.code, 'injected by the test')));
          },
          drop: () => this.#sockets.get(peer)?.resetAndDestroy(),
        },
        signal,
      );
    } catch (error) {
      if (!signal.aborted) callback(this.#statusOf(error));
    }
  }

  async #handleStream(
    name: string,
    method: StreamMethod<never>,
    call: grpc.ServerWritableStream<unknown, unknown>,
  ): Promise<void> {
    const { signal } = this.#stopping;
    const peer = call.getPeer();
    const fail = (error: unknown): void => void call.emit('error', this.#statusOf(error));
    const stream: Stream<object> = {
      send: (message) => void call.write(message),
      fail,
      onEnd: (listener) => void call.on('cancelled', listener),
    };
    const received = this.faults.receive(this.#service, name, call.request);
    try {
      await this.faults.conduct(
        received,
        {
          act: () => {
            try {
              method(call.request as never, call.metadata, stream);
            } catch (error) {
              fail(error);
            }
          },
          // A stream has no single answer, and stays open until the client or the emulator ends it.
          answer: () => undefined,
          fail: (failure) => {
            if (failure.kind !== 'error') throw notOfGrpc(failure.kind);
            fail(new Refusal(failure.code, 'injected by the test'));
          },
          drop: () => this.#sockets.get(peer)?.resetAndDestroy(),
        },
        signal,
      );
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
  }

  #statusOf(error: unknown): Partial<grpc.StatusObject> {
    const refusal =
      error instanceof Refusal
        ? error
        : new Refusal(grpc.status.INTERNAL, `the emulator failed: ${String(error)}`);
    const { code, details } = refusal;
    return { code, details, metadata: this.#describe(refusal) };
  }
}

function notOfGrpc(kind: string): Error {
  return new Error(`a gRPC service has no fault of the kind ${kind}`);
}

function unimplemented(name: string): Method<never, never> {
  return () => {
    throw new Refusal(
      grpc.status.UNIMPLEMENTED,
      `The server does not implement the method ${name}`,
    );
  };
}
