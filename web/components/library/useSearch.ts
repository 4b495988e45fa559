"use client";

import { useCallback, useEffect, useReducer, useRef } from "react";

import { readSentence, type Sentence } from "@/lib/answer";
import { asRequestError, type RequestError } from "@/lib/errors";
import { type Citation, type FileType, search, type SearchEvent, type SearchResult } from "@/lib/library";

export interface SearchState {
  query: string;
  phase: "idle" | "searching" | "answering" | "done" | "stopped" | "failed";
  results: SearchResult[];
  queryTimeS: number | null;
  sentences: Sentence[];
  citations: Citation[];
  /** Name of the language model, or "extractive". */
  answeredBy: string | null;
  /** Why the answer is only quoted, or not complete. */
  note: string;
  error: RequestError | null;
  /** How many searches have been answered. */
  numDone: number;
}

export interface Search {
  state: SearchState;
  start: (query: string, types: readonly FileType[]) => void;
  stop: () => void;
}

/** A search with its answer, as it arrives. A new search ends the one before. */
export function useSearch(): Search {
  const [state, dispatch] = useReducer(reduce, NO_SEARCH);
  const cancellation = useRef<AbortController | null>(null);
  const stop = useCallback(() => cancellation.current?.abort(), []);

  useEffect(() => stop, [stop]);

  const start = useCallback(
    async (query: string, types: readonly FileType[]) => {
      stop();
      const { signal } = (cancellation.current = new AbortController());
      dispatch({ name: "start", query });
      try {
        for await (const event of search(query, types, signal)) if (!signal.aborted) dispatch(event);
      } catch (error) {
        if (!signal.aborted) dispatch({ name: "failure", error: asRequestError(error) });
      }
    },
    [stop],
  );

  return {
    state,
    start: (query, types) => void start(query, types),
    stop: () => {
      stop();
      dispatch({ name: "stop" });
    },
  };
}

const NO_SEARCH: SearchState = {
  query: "",
  phase: "idle",
  results: [],
  queryTimeS: null,
  sentences: [],
  citations: [],
  answeredBy: null,
  note: "",
  error: null,
  numDone: 0,
};

type Action = SearchEvent | { name: "start"; query: string } | { name: "stop" } | { name: "failure"; error: RequestError };

function reduce(state: SearchState, action: Action): SearchState {
  switch (action.name) {
    case "start":
      return { ...NO_SEARCH, query: action.query, phase: "searching", numDone: state.numDone };
    case "results":
      return { ...state, phase: "answering", results: action.data.results, queryTimeS: action.data.query_time };
    case "token":
      return { ...state, sentences: [...state.sentences, readSentence(action.data.text)] };
    case "citation":
      return { ...state, citations: [...state.citations, action.data] };
    case "done":
      return {
        ...state,
        phase: "done",
        answeredBy: action.data.answered_by,
        note: action.data.answer_note,
        numDone: state.numDone + 1,
      };
    case "stop":
      return { ...state, phase: "stopped" };
    case "failure":
      return { ...state, phase: "failed", error: action.error };
  }
}
