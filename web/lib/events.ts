import { EventSourceParserStream } from "eventsource-parser/stream";

import { asRequestError, errorOfBody, errorOfResponse, isAbort, unreachable } from "./errors";

export interface ServerEvent {
  name: string;
  /** The JSON of the event. */
  data: unknown;
}

/**
 * Send a POST and yield the server-sent events of its response.
 *
 * Throws a RequestError for an unsuccessful response, for the event `error`, and for a connection that breaks before one
 * of the events `last`; throws an AbortError once `signal` is aborted. Leaving the loop closes the connection, by which
 * the server knows that nobody waits any longer.
 */
export async function* postForEvents(
  url: string,
  body: FormData | object,
  last: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<ServerEvent, void, void> {
  const isForm = body instanceof FormData;
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { Accept: "text/event-stream", ...(isForm ? {} : { "Content-Type": "application/json" }) },
      body: isForm ? body : JSON.stringify(body),
      signal,
    });
    if (!response.ok || response.body === null) throw await errorOfResponse(response);
    for await (const event of readEvents(response.body)) {
      if (event.name === "error") throw errorOfBody(event.data);
      yield event;
      if (last.includes(event.name)) return;
    }
  } catch (thrown) {
    throw isAbort(thrown) ? thrown : asRequestError(thrown);
  }
  throw unreachable(); // the server ended the response early
}

/** Yield the server-sent events of a response's body. Comments, such as heartbeats, are left out. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent, void, void> {
  const reader = body
    .pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield { name: value.event ?? "message", data: JSON.parse(value.data) as unknown };
    }
  } finally {
    // A body that has failed or ended is closed already.
    await reader.cancel().catch(() => undefined);
  }
}
