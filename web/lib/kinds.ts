import type { Kind } from "./analysis";

/** Endings that browsers often give no media type, or a wrong one. The server decides by the content. */
const KIND_OF_ENDING: Record<string, Kind> = {
  heic: "image",
  heif: "image",
  hif: "image",
  avif: "image",
  tif: "image",
  tiff: "image",
  mkv: "video",
  avi: "video",
  flv: "video",
  wmv: "video",
  asf: "video",
  ts: "video",
  mts: "video",
  m2ts: "video",
  vob: "video",
  "3gp": "video",
  "3g2": "video",
  amr: "audio",
  wma: "audio",
  mka: "audio",
  aac: "audio",
  aiff: "audio",
  aif: "audio",
  weba: "audio",
};

/** What a file is by its name and media type; undefined for what is none of the three. */
export function kindOf(file: File): Kind | undefined {
  const ending = file.name.toLowerCase().split(".").pop() ?? "";
  const [type] = file.type.split("/");
  return KIND_OF_ENDING[ending] ?? (type === "image" || type === "video" || type === "audio" ? type : undefined);
}

export const KIND_NAMES: Record<Kind, string> = { image: "picture", video: "video", audio: "recording" };
