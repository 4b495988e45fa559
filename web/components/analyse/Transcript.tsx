"use client";

import { useEffect, useRef } from "react";

import { clock } from "@/components/shared/format";
import type { Segment } from "@/lib/analysis";
import styles from "./Transcript.module.css";

const SUSPECT: Record<NonNullable<Segment["suspect"]>, string> = {
  repetition: "it repeats itself",
  no_speech: "perhaps nobody speaks here",
  low_probability: "the model is not sure",
};

interface Props {
  segments: readonly (Segment | undefined)[];
  /** The player's time in seconds. */
  time: number;
  onSeek: (seconds: number) => void;
}

/** What is said. The segment that is heard is marked; a click plays one. */
export function Transcript({ segments, time, onSeek }: Props) {
  const list = useRef<HTMLOListElement>(null);
  const current = segments.findIndex(
    (segment) => segment?.start !== undefined && segment.end !== undefined && segment.start <= time && time < segment.end,
  );
  useEffect(() => {
    const item = list.current?.children[current];
    // Scrolls the list only: the page is the user's to scroll.
    if (item instanceof HTMLElement) list.current?.scrollTo({ top: item.offsetTop - list.current.offsetTop - 48 });
  }, [current]);

  if (segments.length === 0) return null;
  return (
    <ol ref={list} className={styles.transcript} aria-label="Transcript">
      {segments.map((segment, index) =>
        segment ? (
          <li key={index} className={index === current ? styles.current : undefined}>
            <button
              type="button"
              aria-current={index === current}
              disabled={segment.start === undefined}
              onClick={() => onSeek(segment.start ?? 0)}
            >
              {segment.start !== undefined && <span className={styles.time}>{clock(segment.start)}</span>}
              <span>
                {segment.speaker && <b>{segment.speaker}: </b>}
                {segment.text}
                {segment.suspect && <em> ({SUSPECT[segment.suspect]})</em>}
              </span>
            </button>
          </li>
        ) : null,
      )}
    </ol>
  );
}
