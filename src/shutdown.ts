/**
 * Lets requests in progress finish before a signal ends the process.
 *
 * functions-framework answers SIGTERM by exiting at once, which could cost a credential between issue and add. Cloud Run
 * sends SIGTERM and allows ten seconds before it kills an instance.
 */
export class GracefulShutdown {
  readonly #inProgress = new Set<Promise<unknown>>();
  #installed = false;

  /**
   * Runs `work`, which a SIGTERM from now on waits for.
   *
   * functions-framework sets its own listener once it listens, so ours takes its place with the first request.
   */
  async during<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#installed) this.#install();
    const promise = work();
    this.#inProgress.add(promise);
    try {
      return await promise;
    } finally {
      this.#inProgress.delete(promise);
    }
  }

  #install(): void {
    this.#installed = true;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const exit = process.listeners(signal);
      process.removeAllListeners(signal);
      process.once(signal, () => {
        void Promise.allSettled(this.#inProgress).then(() => {
          for (const listener of exit) listener(signal);
        });
      });
    }
  }
}
