/**
 * Lets requests in progress finish before a signal ends the process.
 *
 * Cloud Run sends SIGTERM, and kills the instance ten seconds later. functions-framework exits as soon as it receives
 * SIGTERM. A run that has issued a key and not stored it would then lose the key.
 */
export class GracefulShutdown {
  readonly #inProgress = new Set<Promise<unknown>>();
  #installed = false;

  /**
   * Runs `work`. If a signal arrives before `work` ends, the process exits after `work`.
   *
   * functions-framework adds its listeners when its server starts. So the first request replaces these listeners.
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
      const listeners = process.listeners(signal);
      process.removeAllListeners(signal);
      // A second signal changes nothing: under npm, Ctrl-C reaches a process more than once.
      process.on(signal, () => {
        exiting ??= this.#idle().then(() => {
          for (const listener of listeners) listener(signal);
        });
      });
    }
  }

  /** Resolves when no work is in progress, including work that begins during the wait. */
  async #idle(): Promise<void> {
    while (this.#inProgress.size > 0) await Promise.allSettled(this.#inProgress);
  }
}
