"use client";

import { useEffect, useRef } from "react";

import { clock } from "@/components/shared/format";
import type { Frame } from "@/lib/analysis";
import styles from "./Timeline.module.css";
import { useThumbnails } from "./useThumbnails";

interface Props {
  /** Of the video. */
  url: string;
  frames: readonly (Frame | undefined)[];
  /** Seconds; null until it is known. */
  duration: number | null;
  /** The player's time in seconds. */
  time: number;
  onSeek: (seconds: number) => void;
}

/** The described frames of a video: marks on a line of its length, and below each with its picture. A click seeks. */
export function Timeline({ url, frames, duration, time, onSeek }: Props) {
  const described = frames.flatMap((frame, index) => (frame ? [{ frame, index }] : []));
  const thumbnails = useThumbnails(
    url,
    described.flatMap(({ frame }) => frame.timestamp ?? []),
  );
  if (described.length === 0) return null;
  const current = described.findLast(({ frame }) => (frame.timestamp ?? Infinity) <= time)?.index;
  return (
    <section aria-label="Frames" className={styles.timeline}>
      <div className={styles.line} aria-hidden="true">
        {duration !== null && <span className={styles.playhead} style={{ left: `${(time / duration) * 100}%` }} />}
        {duration !== null &&
          described.map(({ frame, index }) => (
            <span
              key={index}
              className={styles.mark}
              style={{ left: `${((frame.timestamp ?? 0) / duration) * 100}%` }}
            />
          ))}
      </div>
      <ol>
        {described.map(({ frame, index }) => (
          <li key={index} className={index === current ? styles.current : undefined}>
            <button type="button" aria-current={index === current} onClick={() => onSeek(frame.timestamp ?? 0)}>
              <Thumbnail picture={thumbnails.get(frame.timestamp ?? NaN)} />
              <span className={styles.time}>{clock(frame.timestamp ?? 0)}</span>
              <span>{frame.error ?? frame.description}</span>
            </button>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Thumbnail({ picture }: { picture?: ImageBitmap }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    if (!picture || !canvas.current) return;
    canvas.current.width = picture.width;
    canvas.current.height = picture.height;
    canvas.current.getContext("2d")?.drawImage(picture, 0, 0);
  }, [picture]);
  return <canvas ref={canvas} className={styles.thumbnail} aria-hidden="true" />;
}
