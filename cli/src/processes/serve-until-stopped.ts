/** A part of Atoll that runs until it is closed. */
export interface Running {
  close(): Promise<void>;
}

/**
 * Keeps a long-running command going until SIGINT, SIGTERM, or the end of the `atoll up` that started
 * it, then closes it and ends the process. Tells a parent that the part serves.
 */
export function serveUntilStopped(running: Running): void {
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    running.close().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  };
  process.on("SIGINT", () => {
    // A second Ctrl-C means "do not wait". A SIGTERM after it is only `atoll up` stopping its parts.
    if (stopping) process.exit(130);
    stop();
  });
  process.on("SIGTERM", stop);
  if (process.send !== undefined) {
    process.on("disconnect", stop);
    // It may have ended while the part started: nobody would tell of that any more.
    if (process.connected) process.send({ kind: "ready" });
    else stop();
  }
}
