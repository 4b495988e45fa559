/** The library's routes. Every call throws a RequestError, or an AbortError once its signal is aborted. */
import { api, apiUrl, dataOf, type Schemas } from "./api";
import { postForEvents } from "./events";

export type LibraryFile = Schemas["LibraryFile"];
export type FileType = LibraryFile["file_type"];
export type FilePage = Schemas["FileList"];
export type Passage = Schemas["Passage"];
export type LibraryState = Schemas["LibraryState"];
export type SearchAnswer = Schemas["SearchAnswer"];
export type SearchResult = Schemas["SearchResult"];
export type Citation = Schemas["Citation"];
export type HistoryEntry = Schemas["SearchHistoryEntry"];

export const FILE_TYPES: readonly FileType[] = ["document", "image", "audio", "video"];

export interface FileFilter {
  /** Null for all. */
  type: FileType | null;
  /** A part of the name or of its folders; "" for all. */
  name: string;
}

export function listFiles({ type, name }: FileFilter, limit: number, offset: number): Promise<FilePage> {
  const query = { type: type ?? undefined, q: name || undefined, limit, offset };
  return dataOf(api.GET("/files", { params: { query } }));
}

/** The file with this content, if the library has it. `checksum` is its SHA-256 in hexadecimal. */
export async function findByChecksum(checksum: string, signal: AbortSignal): Promise<LibraryFile | null> {
  const { files } = await dataOf(api.GET("/files", { params: { query: { checksum } }, signal }));
  return files[0] ?? null;
}

/** Store a file; `path` is its name with the folders that it comes from. It is indexed afterwards. */
export function uploadFile(file: File, path: string, signal: AbortSignal): Promise<Schemas["UploadedFile"]> {
  const form = new FormData();
  form.append("file", file);
  form.append("path", path);
  // The schema says that `file` is a string: OpenAPI has no type for a file of a form.
  const body = form as unknown as { file: string };
  return dataOf(api.POST("/upload", { body, bodySerializer: () => form, signal }));
}

export function getFile(fileId: number, signal: AbortSignal): Promise<LibraryFile> {
  return dataOf(api.GET("/files/{file_id}", { params: { path: { file_id: fileId } }, signal }));
}

/** The text of a file, passage by passage. */
export async function getPassages(fileId: number, signal: AbortSignal): Promise<Passage[]> {
  const params = { path: { file_id: fileId }, query: { include_content: true } };
  const { content } = await dataOf(api.GET("/files/{file_id}", { params, signal }));
  return content ?? [];
}

export async function deleteFile(fileId: number): Promise<void> {
  await dataOf(api.DELETE("/files/{file_id}", { params: { path: { file_id: fileId } } }));
}

/** Index a failed file again. */
export async function retryFile(fileId: number): Promise<void> {
  await dataOf(api.POST("/files/{file_id}/retry", { params: { path: { file_id: fileId } } }));
}

/** How many files there are, and how many of them wait to be indexed. */
export async function getLibraryState(): Promise<LibraryState> {
  return (await dataOf(api.GET("/health"))).library;
}

/** The latest searches, newest first. */
export async function getHistory(): Promise<HistoryEntry[]> {
  return (await dataOf(api.GET("/search/history"))).history;
}

export async function clearHistory(): Promise<void> {
  await dataOf(api.DELETE("/search/history"));
}

/** An event of a search. `token` is a sentence that is to be added to the answer; its new citations follow it. */
export type SearchEvent =
  | { name: "results"; data: Pick<SearchAnswer, "results" | "query_time"> }
  | { name: "token"; data: { text: string } }
  | { name: "citation"; data: Citation }
  | { name: "done"; data: Omit<SearchAnswer, "results"> };

/** Yield the events of a search as they arrive, up to `done`. `types` is empty for files of all types. */
export async function* search(
  query: string,
  types: readonly FileType[],
  signal: AbortSignal,
): AsyncGenerator<SearchEvent, void, void> {
  const body = { query, stream: true, ...(types.length ? { filter_type: types } : {}) };
  for await (const event of postForEvents(apiUrl("/search"), body, ["done"], signal)) {
    if (isSearchEvent(event.name)) yield event as SearchEvent;
  }
}

/** Later servers may send events of other names; they are left out, as the API's description says. */
function isSearchEvent(name: string): boolean {
  return ["results", "token", "citation", "done"].includes(name);
}
