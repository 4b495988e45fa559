"use client";

import { useCallback, useEffect, useRef, useState } from "react";

import { asRequestError, type RequestError } from "@/lib/errors";
import { type FileFilter, type FilePage, getLibraryState, type LibraryState, listFiles } from "@/lib/library";
import { type FileEvent, followFiles } from "@/lib/libraryEvents";

export const FILES_PER_PAGE = 50;
/** While a folder is indexed, its events arrive faster than the list need be read. */
const RELOAD_PERIOD_MS = 300;

export interface Files {
  /** One page of the files that match; null until it is read. */
  page: FilePage | null;
  counts: LibraryState | null;
  /** Why the list cannot be read. */
  error: RequestError | null;
  /** Whether progress is followed; null until that is known. */
  isConnected: boolean | null;
  reload: () => void;
}

/** The files of the library, kept up to date while they are indexed. */
export function useFiles({ type, name }: FileFilter, offset: number): Files {
  const [page, setPage] = useState<FilePage | null>(null);
  const [counts, setCounts] = useState<LibraryState | null>(null);
  const [error, setError] = useState<RequestError | null>(null);
  const [isConnected, setConnected] = useState<boolean | null>(null);

  const load = useCallback(async () => {
    try {
      const [files, state] = await Promise.all([listFiles({ type, name }, FILES_PER_PAGE, offset), getLibraryState()]);
      setPage(files);
      setCounts(state);
      setError(null);
    } catch (thrown) {
      setError(asRequestError(thrown));
    }
  }, [type, name, offset]);
  const reload = useThrottled(load, RELOAD_PERIOD_MS);

  useEffect(reload, [reload, load]);

  useEffect(
    () =>
      followFiles({
        onEvent: (event) => {
          setPage((shown) => shown && withProgress(shown, event));
          // Only the list has the reason of a failure, the number of passages, and files that are new.
          if (event.progress.status !== "processing" || event.progress.fraction === 0) reload();
        },
        onConnection: (connected) => {
          setConnected(connected);
          if (connected) reload(); // for what has happened before
        },
      }),
    [reload],
  );

  return { page, counts, error, isConnected, reload };
}

function withProgress(page: FilePage, { file_id, progress }: FileEvent): FilePage {
  const { status, ...rest } = progress;
  if (status === "deleted") return { ...page, files: page.files.filter((file) => file.file_id !== file_id) };
  return {
    ...page,
    files: page.files.map((file) => (file.file_id === file_id ? { ...file, status, progress: rest } : file)),
  };
}

/** A function that runs the latest `action`, never twice at once, with a pause between two runs. */
function useThrottled(action: () => Promise<void>, pauseMs: number): () => void {
  const latest = useRef(action);
  const isAsked = useRef(false);
  const isRunning = useRef(false);

  useEffect(() => {
    latest.current = action;
  }, [action]);

  const run = useCallback(async () => {
    isAsked.current = true;
    if (isRunning.current) return;
    isRunning.current = true;
    while (isAsked.current) {
      isAsked.current = false;
      await latest.current();
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    isRunning.current = false;
  }, [pauseMs]);

  return useCallback(() => void run(), [run]);
}
