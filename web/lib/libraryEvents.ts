/** Follows the progress of the library's files by `GET /events`. */
import { apiUrl } from "./api";
import type { LibraryFile } from "./library";

/** What `/events` sends for each change of a file. */
export interface FileEvent {
  seq: number;
  file_id: number;
  progress: LibraryFile["progress"] & { status: LibraryFile["status"] | "deleted" };
}

export interface FileFollower {
  onEvent: (event: FileEvent) => void;
  /** Called with true when events begin to arrive, also again after a break, and with false when they break off. */
  onConnection: (isConnected: boolean) => void;
}

const RECONNECT_MS = 3000;

/** Follow until the returned function is called. */
export function followFiles(follower: FileFollower): () => void {
  let source: EventSource;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function connect() {
    source = new EventSource(apiUrl("/events"));
    source.onopen = () => follower.onConnection(true);
    source.onmessage = (message: MessageEvent<string>) => follower.onEvent(JSON.parse(message.data) as FileEvent);
    source.onerror = () => {
      // The browser would connect again by itself, but not after an answer with an error status, and only to be sent the
      // events after the last one, which a server that was started anew with another library may not have.
      source.close();
      follower.onConnection(false);
      timer = setTimeout(connect, RECONNECT_MS);
    };
  }

  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
