import createClient from "openapi-fetch";

import { asRequestError, errorOfBody, isAbort } from "./errors";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/**
 * Where the API is: on the page's own server, as the server itself serves the page. `npm run dev` is a server of its own,
 * so there it is `NEXT_PUBLIC_API_URL` or the port that `prism serve` uses.
 */
export const API_URL =
  process.env.NEXT_PUBLIC_API_URL || (process.env.NODE_ENV === "development" ? "http://localhost:8000" : "");

/** The address of one of the API's paths, such as `/files/12/content#page=5`. */
export function apiUrl(path: string): string {
  return API_URL + path;
}

/** The routes that answer with JSON, typed by the server's `/openapi.json`: `api.GET("/files", { params: ... })`. */
export const api = createClient<paths>({ baseUrl: API_URL });

/**
 * The data of a call of `api`: `const files = await dataOf(api.GET("/files"))`.
 * Throws a RequestError, or the AbortError of a call that was cancelled.
 */
export async function dataOf<Data>(
  call: Promise<{ data?: Data; error?: unknown; response: Response }>,
): Promise<Data> {
  const answer = await call.catch((thrown: unknown) => {
    throw isAbort(thrown) ? thrown : asRequestError(thrown);
  });
  if (!answer.response.ok || answer.data === undefined) throw errorOfBody(answer.error, answer.response);
  return answer.data;
}
