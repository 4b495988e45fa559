import { useSyncExternalStore } from "react";

import { asRequestError, isAbort, type RequestError } from "./errors";
import { postForEvents, type ServerEvent } from "./events";

export interface JobSnapshot<State> {
  status: "working" | "done" | "failed" | "cancelled";
  /** What the events have told so far. It is kept after a failure and a cancellation. */
  state: State;
  /** Why the job failed. */
  error: RequestError | null;
}

/**
 * A request that the server answers with events, until `result`. It outlives the components that show it.
 *
 * `apply` is a reducer: it returns the state after an event, and the same state for events that it does not know.
 */
export class Job<State> {
  private snapshot: JobSnapshot<State>;
  private readonly listeners = new Set<() => void>();
  private abort: AbortController | null = null;

  constructor(
    private readonly url: string,
    private readonly makeBody: () => Promise<FormData | object>,
    private readonly initial: State,
    private readonly apply: (state: State, event: ServerEvent) => State,
  ) {
    this.snapshot = { status: "working", state: initial, error: null };
  }

  readonly getSnapshot = (): JobSnapshot<State> => this.snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Send the request, also once more after a failure. Resolves when the job has ended, however it ended. */
  async start(): Promise<void> {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    // Only the newest attempt changes the snapshot.
    const change = (changes: Partial<JobSnapshot<State>>) => {
      if (this.abort === abort) this.set({ ...this.snapshot, ...changes });
    };
    change({ status: "working", state: this.initial, error: null });
    try {
      for await (const event of postForEvents(this.url, await this.makeBody(), ["result"], abort.signal)) {
        change({ state: this.apply(this.snapshot.state, event) });
      }
      change({ status: "done" });
    } catch (thrown) {
      if (isAbort(thrown)) change({ status: "cancelled" });
      else change({ status: "failed", error: asRequestError(thrown) });
    }
  }

  /** Close the connection, by which the server ends the work. */
  cancel(): void {
    this.abort?.abort();
  }

  private set(snapshot: JobSnapshot<State>): void {
    this.snapshot = snapshot;
    for (const listener of this.listeners) listener();
  }
}

/** What components need of a job. */
export type JobHandle<State> = Pick<Job<State>, "getSnapshot" | "subscribe" | "start" | "cancel">;

/** The job's present snapshot; the component is rendered again when it changes. */
export function useJob<State>(job: JobHandle<State>): JobSnapshot<State> {
  return useSyncExternalStore(job.subscribe, job.getSnapshot, job.getSnapshot);
}
