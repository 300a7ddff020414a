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
    let exiting: Promise<void> | undefined;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const exit = process.listeners(signal);
      process.removeAllListeners(signal);
      // A second signal changes nothing: Ctrl-C, for one, reaches a process more than once under npm.
      process.on(signal, () => {
        exiting ??= this.#idle().then(() => {
          for (const listener of exit) listener(signal);
        });
      });
    }
  }

  /** Waits also for what begins while it waits: a request that was on its way, say. */
  async #idle(): Promise<void> {
    while (this.#inProgress.size > 0) await Promise.allSettled(this.#inProgress);
  }
}
