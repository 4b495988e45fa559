/** What the page says about a request that failed. `message` says what is wrong and what to do. */
export class RequestError extends Error {
  override name = "RequestError";

  constructor(
    /** A code of the server, such as `SERVER_BUSY`, or `UNREACHABLE` if it does not answer. */
    readonly code: string,
    message: string,
    readonly details: {
      status?: number;
      /** Seconds after which the request may be sent again. */
      retryAfterSeconds?: number;
      /** The id under which the server's log has the request. */
      requestId?: string;
    } = {},
  ) {
    super(message);
  }
}

export function unreachable(): RequestError {
  return new RequestError(
    "UNREACHABLE",
    "The server does not answer. It may be starting; if it is not running, start it with `prism serve`. Then try again.",
  );
}

/** The error that an unsuccessful response describes. Its body is read. */
export async function errorOfResponse(response: Response): Promise<RequestError> {
  const text = await response.text().catch(() => "");
  return errorOfBody(parseJson(text), response);
}

/** The error in a JSON body, of the response that brought it if there is one. */
export function errorOfBody(body: unknown, response?: Response): RequestError {
  const retryAfter = Number(response?.headers.get("Retry-After") ?? NaN);
  const details = {
    status: response?.status,
    retryAfterSeconds: Number.isFinite(retryAfter) ? retryAfter : undefined,
    requestId: response?.headers.get("X-Request-ID") ?? undefined,
  };
  const error = isErrorBody(body)
    ? body.error
    : { code: "UNEXPECTED", message: `The server answered with status ${response?.status ?? "unknown"} and no reason.` };
  return new RequestError(error.code, error.message, details);
}

/** The error to show for anything that was thrown. Browsers throw a TypeError where no connection can be made or kept. */
export function asRequestError(thrown: unknown): RequestError {
  if (thrown instanceof RequestError) return thrown;
  if (thrown instanceof TypeError) return unreachable();
  return new RequestError("UNEXPECTED", thrown instanceof Error ? thrown.message : String(thrown));
}

export function isAbort(thrown: unknown): boolean {
  return thrown instanceof DOMException && thrown.name === "AbortError";
}

function isErrorBody(body: unknown): body is { error: { code: string; message: string } } {
  const error = (body as { error?: { code?: unknown; message?: unknown } } | null)?.error;
  return typeof error?.code === "string" && typeof error.message === "string";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
