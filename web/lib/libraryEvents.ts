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
  /** Called when the stream begins, and with false when it is lost. What happened meanwhile is sent again. */
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
      follower.onConnection(false);
      // A lost connection is taken up again by the browser, an answer with an error status is not.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(connect, RECONNECT_MS);
    };
  }

  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
