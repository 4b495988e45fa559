"use client";

import { useCallback, useEffect, useRef } from "react";

import { ErrorNotice } from "@/components/shared/Notice";
import { getPassages, type Passage } from "@/lib/library";
import type { Place } from "@/lib/places";
import { Quote } from "./Quote";
import styles from "./library.module.css";
import { useLoaded } from "./useLoaded";

/** So many passages before and after the one that is shown give it its context. */
const NEIGHBOURS = 5;

/** The text around a passage of a document without pages, with the words marked. */
export function PlaceText({ place }: { place: Place }) {
  const load = useCallback((signal: AbortSignal) => getPassages(place.fileId, signal), [place.fileId]);
  const { data: passages, error } = useLoaded(load);
  const frame = useRef<HTMLDivElement>(null);
  const cited = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (!passages || !frame.current || !cited.current) return;
    // Unlike scrollIntoView, this leaves the window around it where it is.
    frame.current.scrollTop = cited.current.offsetTop - frame.current.clientHeight / 3;
  }, [passages]);

  if (error) return <ErrorNotice error={error} />;
  if (!passages) return <p role="status">The text is read …</p>;
  return (
    <div ref={frame} className={styles.text} role="group" aria-label="The text around it" tabIndex={0}>
      {neighbours(passages, place.chunkId).map(({ chunk_id, text }) =>
        chunk_id === place.chunkId ? (
          <div key={chunk_id} ref={cited}>
            <Quote text={text} chars={place.chars} />
          </div>
        ) : (
          <p key={chunk_id}>{text}</p>
        ),
      )}
    </div>
  );
}

function neighbours(passages: readonly Passage[], chunkId: string): readonly Passage[] {
  const index = passages.findIndex(({ chunk_id }) => chunk_id === chunkId);
  return index < 0 ? passages : passages.slice(Math.max(0, index - NEIGHBOURS), index + NEIGHBOURS + 1);
}
