import { apiUrl, type Schemas } from "./api";
import { errorOfBody, type RequestError } from "./errors";
import type { ServerEvent } from "./events";
import { Job } from "./job";

export type Kind = "image" | "video" | "audio";
export type Frame = Schemas["Frame"];
export type Segment = Schemas["Segment"];
export type Analysis = Schemas["ImageAnalysis"] | Schemas["VideoAnalysis"] | Schemas["AudioAnalysis"];

/** What the user may choose. Each kind of file takes the part that concerns it. */
export interface Options {
  /** A question about a picture or the frames of a video; empty for a description. */
  question: string;
  numFrames: number;
  sampling: "uniform" | "keyframes";
  /** Of what is said: a code or name, or empty to find out. */
  language: string;
  /** Whether a recording is translated to English. */
  translate: boolean;
  /** Whether speakers are told apart. */
  speakers: boolean;
}

export const DEFAULT_OPTIONS: Options = {
  question: "",
  numFrames: 5,
  sampling: "uniform",
  language: "",
  translate: false,
  speakers: false,
};

/** The data of a `progress` event. */
export interface Progress {
  stage: string;
  /** Of the stage; null where nobody can tell. */
  fraction: number | null;
  /** Seconds until the whole analysis is done; null while the machine has no experience. */
  eta_seconds: number | null;
}

/** All that the events of one file's analysis have told so far. */
export interface Known {
  /** Requests that are served before this one; null until the server has said so. */
  position: number | null;
  /** The stages that are worked on, as they were last heard of. */
  stages: readonly Progress[];
  /** An image's description, as far as it is written. */
  description: string;
  /** By index; one that has not come yet is undefined. */
  frames: readonly (Frame | undefined)[];
  segments: readonly (Segment | undefined)[];
  summary: string;
  result: Analysis | null;
}

export const NOTHING_KNOWN: Known = {
  position: null,
  stages: [],
  description: "",
  frames: [],
  segments: [],
  summary: "",
  result: null,
};

/** One file of a batch: what is known of it, and its own error. */
export interface BatchFile {
  known: Known;
  error: RequestError | null;
}

export interface BatchState {
  /** Requests that are served before this one; null until the server has said so. */
  position: number | null;
  files: readonly BatchFile[];
}

export function analysisJob(kind: Kind, file: File, options: Options): Job<Known> {
  const makeBody = async () => {
    const form = new FormData();
    form.append(kind, file);
    for (const [name, value] of Object.entries(optionsOf(kind, options))) form.append(name, String(value));
    return form;
  };
  return new Job(apiUrl(`/api/analyze/${kind}`), makeBody, NOTHING_KNOWN, afterEvent);
}

export function batchJob(files: readonly { kind: Kind; file: File }[], options: Options): Job<BatchState> {
  const makeBody = async () => ({
    files: await Promise.all(
      files.map(async ({ kind, file }) => ({ type: kind, data: await dataUrl(file), ...optionsOf(kind, options) })),
    ),
  });
  const initial = { position: null, files: files.map(() => ({ known: NOTHING_KNOWN, error: null })) };
  return new Job<BatchState>(apiUrl("/api/analyze/batch"), makeBody, initial, afterBatchEvent);
}

/** The options of the kind's route that differ from its defaults, and the transcript of a video. */
export function optionsOf(kind: Kind, options: Options): Record<string, string | number | boolean> {
  const chosen: Record<string, string | number | boolean> = {};
  const language = options.language.trim();
  if (kind !== "audio" && options.question.trim()) chosen.prompt = options.question.trim();
  if (kind !== "image" && language) chosen.language = language;
  if (kind !== "image" && options.speakers) chosen.speakers = true;
  if (kind === "audio" && options.translate) chosen.translate = true;
  if (kind === "video") {
    Object.assign(chosen, { num_frames: options.numFrames, frame_sampling: options.sampling, include_audio: true });
  }
  return chosen;
}

/** What is known after an event. */
export function afterEvent(known: Known, event: ServerEvent): Known {
  switch (event.name) {
    case "queued":
      return { ...known, position: (event.data as { position: number }).position };
    case "progress":
      return { ...known, stages: withStage(known.stages, event.data as Progress) };
    case "token":
      return { ...known, description: known.description + (event.data as { text: string }).text };
    case "frame": {
      const { index, frame } = event.data as { index: number; frame: Frame };
      return { ...known, frames: withItem(known.frames, index, frame) };
    }
    case "segment": {
      const { index, segment } = event.data as { index: number; segment: Segment };
      return { ...known, segments: withItem(known.segments, index, segment) };
    }
    case "summary":
      return { ...known, summary: (event.data as { text: string }).text };
    case "result":
      return withResult(known, event.data as Analysis);
    default:
      return known;
  }
}

function afterBatchEvent(state: BatchState, event: ServerEvent): BatchState {
  if (event.name === "queued") return { ...state, position: (event.data as { position: number }).position };
  if (event.name === "result") {
    const { results } = event.data as Schemas["BatchAnalysis"];
    return results.reduce((files, { file_index, result }) => withFileResult(files, file_index, result), state);
  }
  const { file_index: index, ...data } = event.data as { file_index: number; result: FileResult };
  if (event.name === "file") return withFileResult(state, index, data.result);
  const file = state.files[index];
  if (!file) return state;
  const known = afterEvent(file.known, { name: event.name, data });
  return { ...state, files: withItem(state.files, index, { ...file, known }) };
}

type FileResult = Analysis | Schemas["ErrorBody"];

function withFileResult(state: BatchState, index: number, result: FileResult): BatchState {
  const file = state.files[index];
  if (!file) return state;
  const done = result.success
    ? { known: withResult(file.known, result), error: null }
    : { known: { ...file.known, stages: [] }, error: errorOfBody(result) };
  return { ...state, files: withItem(state.files, index, done) };
}

/** The result replaces what came in parts. */
function withResult(known: Known, result: Analysis): Known {
  const base = { ...known, stages: [], result };
  if (result.type === "image") return { ...base, description: result.description };
  if (result.type === "audio") return { ...base, segments: result.segments };
  return { ...base, frames: result.frames, segments: result.transcript?.segments ?? [], summary: result.summary };
}

/** For each stage, those that are over once it begins. The pictures and the sound of a video go on side by side. */
const STAGES_BEFORE: Record<string, readonly string[]> = {
  write: ["read"],
  frames: ["sample"],
  summary: ["sample", "frames"],
  transcribe: ["decode"],
  speakers: ["decode", "transcribe"],
};

/** Replace the stage's last news, or add it and leave out the stages before it. */
function withStage(stages: readonly Progress[], news: Progress): readonly Progress[] {
  if (stages.some(({ stage }) => stage === news.stage)) {
    return stages.map((old) => (old.stage === news.stage ? news : old));
  }
  const over = STAGES_BEFORE[news.stage] ?? [];
  return [...stages.filter(({ stage }) => !over.includes(stage)), news];
}

function withItem<Item>(items: readonly Item[], index: number, item: Item): readonly Item[] {
  const copy = [...items];
  copy[index] = item;
  return copy;
}

function dataUrl(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(reader.error ?? new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}
