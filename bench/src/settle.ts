/** Waits for a queue the way that leaves the driver its cores: Dawn's event loop spins while it is awaited. */

/** Resolves when `queue` has done its work; `rest` sleeps between looks where the host has it. */
export async function settle(
  queue: GPUQueue,
  rest: ((milliseconds: number) => Promise<void>) | undefined,
): Promise<void> {
  const done = queue.onSubmittedWorkDone();
  if (rest) {
    let pending = true;
    const end = (): void => {
      pending = false;
    };
    done.then(end, end);
    const start = performance.now();
    // As the engine's own wait does: the end is seen at most a sixteenth late.
    while (pending) await rest(Math.min(8, Math.max(0.25, (performance.now() - start) / 16)));
  }
  await done;
}
