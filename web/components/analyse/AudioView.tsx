"use client";

import { Notice } from "@/components/shared/Notice";
import type { Known } from "@/lib/analysis";
import type { Media } from "./AnalysesProvider";
import styles from "./AudioView.module.css";
import { ModelNote } from "./ModelNote";
import { Transcript } from "./Transcript";
import { usePlayer } from "./usePlayer";
import { Warnings } from "./Warnings";

/** A recording with a player, and what is said in it. */
export function AudioView({ media, known }: { media: Media; known: Known }) {
  const { setElement, time, isUnplayable, playFrom } = usePlayer<HTMLAudioElement>();
  const result = known.result?.type === "audio" ? known.result : null;
  return (
    <div className={styles.audio}>
      <audio ref={setElement} src={media.url} controls aria-label={`Player of ${media.file.name}`} />
      {isUnplayable && (
        <Notice>
          <p>This browser cannot play the file; it is transcribed all the same.</p>
        </Notice>
      )}
      <Transcript segments={known.segments} time={time} onSeek={playFrom} />
      {result?.segments.length === 0 && <p>Nobody speaks in this recording.</p>}
      <Warnings warnings={result?.metadata.warnings} />
      {result && (
        <p className="muted">
          Language: {result.language}, confidence {Math.round(result.confidence * 100)} %
        </p>
      )}
      {result && <ModelNote model={result.metadata.model} milliseconds={result.metadata.processing_time_ms} />}
    </div>
  );
}
