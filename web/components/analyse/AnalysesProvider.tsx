"use client";

import { createContext, type ReactNode, useCallback, useContext, useMemo, useRef, useState } from "react";

import {
  analysisJob,
  batchJob,
  type BatchState,
  DEFAULT_OPTIONS,
  type Kind,
  type Known,
  type Options,
} from "@/lib/analysis";
import type { Job } from "@/lib/job";
import { kindOf } from "@/lib/kinds";

export interface Question {
  /** Empty for a description. */
  text: string;
  job: Job<Known>;
}

export interface Media {
  file: File;
  kind: Kind;
  /** Of the file's content, until the entry is removed. */
  url: string;
}

/** What was dropped, chosen, pasted or recorded together, and the jobs that it became. */
export type Entry = { id: number } & (
  | { type: "image"; files: readonly [Media]; questions: readonly Question[] }
  | { type: "video" | "audio"; files: readonly [Media]; job: Job<Known> }
  | { type: "batch"; files: readonly Media[]; job: Job<BatchState> }
);

interface Analyses {
  /** Newest first. */
  entries: readonly Entry[];
  options: Options;
  setOptions: (options: Options) => void;
  /** Analyse one file, or several as a batch. Returns the names of files that are neither picture, video nor sound. */
  add: (files: readonly File[]) => string[];
  /** Ask something more about an entry's picture. */
  ask: (id: number, question: string) => void;
  remove: (id: number) => void;
}

/** The server takes so many files in one batch. */
const MAX_BATCH_FILES = 16;

const Context = createContext<Analyses | null>(null);

export function useAnalyses(): Analyses {
  const analyses = useContext(Context);
  if (!analyses) throw new Error("useAnalyses needs an AnalysesProvider.");
  return analyses;
}

/** Keeps the analyses while the user looks at another section. */
export function AnalysesProvider({ children }: { children: ReactNode }) {
  const [entries, setEntries] = useState<readonly Entry[]>([]);
  const [options, setOptions] = useState(DEFAULT_OPTIONS);
  const nextId = useRef(1);

  const add = useCallback(
    (files: readonly File[]) => {
      const media = files.flatMap((file) => {
        const kind = kindOf(file);
        return kind ? [{ file, kind, url: URL.createObjectURL(file) }] : [];
      });
      for (let first = 0; first < media.length; first += MAX_BATCH_FILES) {
        const entry = startEntry(nextId.current++, media.slice(first, first + MAX_BATCH_FILES), options);
        setEntries((old) => [entry, ...old]);
      }
      return files.filter((file) => !kindOf(file)).map((file) => file.name);
    },
    [options],
  );

  const ask = useCallback(
    (id: number, text: string) => {
      const entry = entries.find((each) => each.id === id);
      if (entry?.type !== "image") return;
      const question = { text, job: startJob("image", entry.files[0].file, { ...options, question: text }) };
      const changed = { ...entry, questions: [...entry.questions, question] };
      setEntries((old) => old.map((each) => (each.id === id ? changed : each)));
    },
    [entries, options],
  );

  const remove = useCallback(
    (id: number) => {
      const entry = entries.find((each) => each.id === id);
      if (!entry) return;
      for (const job of jobsOf(entry)) job.cancel();
      for (const { url } of entry.files) URL.revokeObjectURL(url);
      setEntries((old) => old.filter((each) => each.id !== id));
    },
    [entries],
  );

  const analyses = useMemo(
    () => ({ entries, options, setOptions, add, ask, remove }),
    [entries, options, add, ask, remove],
  );
  return <Context value={analyses}>{children}</Context>;
}

function startEntry(id: number, files: readonly Media[], options: Options): Entry {
  const [first, ...others] = files;
  if (first === undefined || others.length > 0) {
    const job = batchJob(files, options);
    void job.start();
    return { id, type: "batch", files, job };
  }
  const { file, kind } = first;
  const job = startJob(kind, file, options);
  if (kind === "image") return { id, type: kind, files: [first], questions: [{ text: options.question.trim(), job }] };
  return { id, type: kind, files: [first], job };
}

function startJob(kind: Kind, file: File, options: Options): Job<Known> {
  const job = analysisJob(kind, file, options);
  void job.start();
  return job;
}

function jobsOf(entry: Entry): readonly (Job<Known> | Job<BatchState>)[] {
  return entry.type === "image" ? entry.questions.map(({ job }) => job) : [entry.job];
}
