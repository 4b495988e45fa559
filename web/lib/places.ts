/** Where a passage is, in words and as the URLs that show it. */
import { clock } from "@/components/shared/format";
import type { Citation, FileType, SearchResult } from "./library";

/** `source_info` of a passage. Which keys there are depends on the kind of file: README, "The library". */
export interface SourceInfo {
  type: FileType;
  /** A page of a PDF, from 1. */
  page?: number;
  /** The number that is printed on the page, such as "iv". */
  printed_page?: string;
  /** Its lines on the page or in the picture: left, top, right, bottom in fractions. */
  boxes?: [number, number, number, number][];
  /** The headings above a paragraph of a document without pages, the outermost first. */
  heading?: string[];
  paragraph?: number;
  /** Seconds. */
  start?: number;
  end?: number;
  origin?: "speech" | "picture" | "on-screen text";
}

/** A passage, or the words of it that are quoted, with what is needed to show where it is. */
export interface Place {
  fileId: number;
  chunkId: string;
  info: SourceInfo;
  /** The text of the passage. */
  text: string;
  /** The quoted characters of the passage, as the API counts them; null for a whole passage. */
  chars: readonly [number, number] | null;
  /** The path that opens the place in the original. */
  path: string;
  /** The path of a picture of the place, with the words marked; null for sound and for documents without pages. */
  picturePath: string | null;
}

/** Where a citation, or what a result's `metadata` tells of, is. */
export function sourceOf(passage: Pick<Citation, "source_info">): SourceInfo {
  return passage.source_info as unknown as SourceInfo;
}

/** `passage` is the search's result for the cited passage, if it is among them. */
export function placeOfCitation(citation: Citation, passage: SearchResult | undefined): Place {
  return {
    fileId: citation.file_id,
    chunkId: citation.chunk_id,
    info: sourceOf(citation),
    text: passage ? passage.metadata.text : citation.quote,
    chars: passage ? citation.chars : null,
    path: citation.url,
    picturePath: citation.page_url,
  };
}

export function placeOfResult(result: SearchResult): Place {
  const { file_id: fileId, text } = result.metadata;
  const info = sourceOf(result.metadata);
  return {
    fileId,
    chunkId: result.chunk_id,
    info,
    text,
    chars: null,
    path: originalPath(fileId, info),
    picturePath: picturePath(fileId, result.chunk_id, info),
  };
}

/** The place in a few words, such as "page 5" or "12:14–12:21". */
export function describePlace(info: SourceInfo): string {
  if (info.page !== undefined) {
    return info.printed_page ? `page ${info.page} (printed: ${info.printed_page})` : `page ${info.page}`;
  }
  if (info.start !== undefined) {
    const end = info.end !== undefined && info.end > info.start ? `–${clock(info.end)}` : "";
    const origin = info.type === "video" && info.origin ? `, ${ORIGINS[info.origin]}` : "";
    return `${clock(info.start)}${end}${origin}`;
  }
  if (info.paragraph !== undefined) {
    return [...(info.heading ?? []), `paragraph ${info.paragraph}`].join(" › ");
  }
  return info.type === "image" ? (info.boxes ? "text in the picture" : "description of the picture") : "";
}

const ORIGINS = { speech: "spoken", picture: "in the picture", "on-screen text": "text on screen" } as const;

function originalPath(fileId: number, info: SourceInfo): string {
  if (info.page !== undefined) return `/files/${fileId}/content#page=${info.page}`;
  if (info.paragraph !== undefined) return `/files/${fileId}/text#paragraph-${info.paragraph}`;
  if (info.start !== undefined) return `/files/${fileId}/content#t=${info.start}`;
  return `/files/${fileId}/content`;
}

function picturePath(fileId: number, chunkId: string, info: SourceInfo): string | null {
  if (info.type === "video") return `/files/${fileId}/frames/${info.start ?? 0}.jpg`;
  if (info.page === undefined && info.type !== "image") return null;
  return `/files/${fileId}/pages/${info.page ?? 1}.png?${new URLSearchParams({ chunk_id: chunkId })}`;
}

/**
 * Divide a passage into what is before the quoted words, the words, and what is after them.
 *
 * The API counts characters as Python does (code points); JavaScript's strings count UTF-16 units.
 */
export function splitAtQuote(text: string, chars: readonly [number, number] | null): [string, string, string] {
  if (!chars) return [text, "", ""];
  const characters = Array.from(text);
  const part = (start: number, end?: number) => characters.slice(start, end).join("");
  return [part(0, chars[0]), part(...chars), part(chars[1])];
}
