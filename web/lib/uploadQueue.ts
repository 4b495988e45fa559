/** Puts many files into the library, a few at a time. */
import { checksumOf } from "./checksum";
import type { FoundFile } from "./droppedFiles";
import { asRequestError, RequestError } from "./errors";
import { findByChecksum, uploadFile } from "./library";

/** How many files are read and sent at the same time. */
const PARALLEL = 2;
/** How long the queue waits if a busy server does not say how long. */
const DEFAULT_WAIT_S = 5;

export interface Refusal {
  found: FoundFile;
  /** Why, as the server says it. */
  reason: string;
}

/** What became of the files so far. Each change makes a new object. */
export interface UploadState {
  waiting: readonly FoundFile[];
  /** Being read and sent now. */
  current: readonly FoundFile[];
  numAdded: number;
  /** Files whose content the library already had. */
  numKnown: number;
  refused: readonly Refusal[];
  /** Why the queue has stopped: the server cannot be reached. The files that are left wait for `resume`. */
  interruption: string | null;
  /** Whether the server is busy; the queue goes on by itself. */
  isServerBusy: boolean;
}

export const NO_UPLOADS: UploadState = {
  waiting: [],
  current: [],
  numAdded: 0,
  numKnown: 0,
  refused: [],
  interruption: null,
  isServerBusy: false,
};

type Outcome = { kind: "added" | "known" | "cancelled" } | { kind: "refused" | "interrupted"; reason: string };

export class UploadQueue {
  #state = NO_UPLOADS;
  #cancellation = new AbortController();
  readonly #listeners = new Set<() => void>();

  /** For `useSyncExternalStore`. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** For `useSyncExternalStore`. */
  readonly state = (): UploadState => this.#state;

  add(files: readonly FoundFile[]): void {
    const { waiting, current } = this.#state;
    // The counts are those of one batch: files that are added to a queue that is done begin a new one.
    if (waiting.length + current.length === 0) this.#state = NO_UPLOADS;
    this.#change({ waiting: [...waiting, ...files] });
    this.resume();
  }

  /** Go on after an interruption. */
  resume(): void {
    this.#change({ interruption: null });
    while (this.#state.current.length < PARALLEL && this.#state.waiting.length > 0) this.#startNext();
  }

  /** Send the refused files again. */
  retryRefused(): void {
    const { refused, waiting } = this.#state;
    this.#change({ refused: [], waiting: [...waiting, ...refused.map(({ found }) => found)] });
    this.resume();
  }

  /** Forget the files that wait, and end the uploads that run. */
  cancel(): void {
    this.#cancellation.abort();
    this.#cancellation = new AbortController();
    this.#change({ waiting: [], interruption: null });
  }

  #startNext(): void {
    const [found, ...waiting] = this.#state.waiting;
    if (!found) return;
    this.#change({ waiting, current: [...this.#state.current, found] });
    void this.#send(found, this.#cancellation.signal);
  }

  /** Send one file, if the library does not have it, note what became of it, and start the next. */
  async #send(found: FoundFile, signal: AbortSignal): Promise<void> {
    const outcome = await this.#outcomeOf(found, signal);
    // Read after the wait: the other upload may have changed the state.
    const { current, waiting, numAdded, numKnown, refused } = this.#state;
    const others = current.filter((other) => other !== found);
    switch (outcome.kind) {
      case "added":
        this.#change({ current: others, numAdded: numAdded + 1 });
        break;
      case "known":
        this.#change({ current: others, numKnown: numKnown + 1 });
        break;
      case "refused":
        this.#change({ current: others, refused: [...refused, { found, reason: outcome.reason }] });
        break;
      case "interrupted":
        this.#change({ current: others, waiting: [found, ...waiting], interruption: outcome.reason });
        break;
      case "cancelled":
        this.#change({ current: others });
    }
    if (this.#state.interruption === null) this.resume();
  }

  async #outcomeOf(found: FoundFile, signal: AbortSignal): Promise<Outcome> {
    try {
      return { kind: (await this.#whenNotBusy(() => sendIfNew(found, signal), signal)) ? "added" : "known" };
    } catch (error) {
      if (signal.aborted) return { kind: "cancelled" };
      const { code, message } = asRequestError(error);
      return { kind: code === "UNREACHABLE" ? "interrupted" : "refused", reason: message };
    }
  }

  async #whenNotBusy<Result>(send: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    for (;;) {
      try {
        return await send();
      } catch (error) {
        if (!(error instanceof RequestError) || error.code !== "SERVER_BUSY") throw error;
        this.#change({ isServerBusy: true });
        await sleep((error.details.retryAfterSeconds ?? DEFAULT_WAIT_S) * 1000, signal);
      } finally {
        this.#change({ isServerBusy: false });
      }
    }
  }

  #change(changes: Partial<UploadState>): void {
    this.#state = { ...this.#state, ...changes };
    for (const listener of this.#listeners) listener();
  }
}

/** Return whether the content was new. Content that failed to be indexed is sent again: the server then retries it. */
async function sendIfNew({ file, path }: FoundFile, signal: AbortSignal): Promise<boolean> {
  const checksum = await checksumOf(file);
  const known = checksum === null ? null : await findByChecksum(checksum, signal);
  if (known && known.status !== "failed") return false;
  const uploaded = await uploadFile(file, path, signal);
  return !uploaded.duplicate || known !== null;
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
