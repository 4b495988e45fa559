"use client";

import { useEffect, useRef } from "react";

import { Notice } from "@/components/shared/Notice";
import type { Known, Segment } from "@/lib/analysis";
import type { Media } from "./AnalysesProvider";
import { ModelNote } from "./ModelNote";
import { Timeline } from "./Timeline";
import { Transcript } from "./Transcript";
import { usePlayer } from "./usePlayer";
import styles from "./VideoView.module.css";
import { Warnings } from "./Warnings";

/** A video with its frames on a timeline, what is said in it beside it, and a summary. */
export function VideoView({ media, known }: { media: Media; known: Known }) {
  const { setElement, element, time, duration, isUnplayable, playFrom } = usePlayer<HTMLVideoElement>();
  useCaptions(element, known.segments);
  const result = known.result?.type === "video" ? known.result : null;
  return (
    <div className={styles.video}>
      <div className={styles.screen}>
        <video ref={setElement} src={media.url} controls playsInline aria-label={`Player of ${media.file.name}`} />
        {isUnplayable && (
          <Notice>
            <p>This browser cannot play the file; it is analysed all the same.</p>
          </Notice>
        )}
      </div>
      <section aria-label="What is said" className={styles.said}>
        <h4>What is said</h4>
        <Transcript segments={known.segments} time={time} onSeek={playFrom} />
        {result?.transcript?.segments.length === 0 && <p>Nobody speaks in this video.</p>}
      </section>
      <Timeline
        url={media.url}
        frames={known.frames}
        duration={result?.metadata.duration_seconds ?? duration}
        time={time}
        onSeek={playFrom}
      />
      <div className={styles.below}>
        {known.summary && (
          <section aria-label="Summary">
            <h4>Summary</h4>
            <p>{known.summary}</p>
          </section>
        )}
        <Warnings warnings={result?.transcript?.metadata.warnings} />
        {result && <ModelNote model={result.metadata.model} milliseconds={result.processing_time_ms} />}
      </div>
    </div>
  );
}

/** Gives the player captions, segment by segment as they come; its menu shows them. */
function useCaptions(video: HTMLVideoElement | null, segments: readonly (Segment | undefined)[]) {
  const track = useRef<TextTrack | null>(null);
  useEffect(() => {
    if (!video || segments.length === 0) return;
    track.current ??= video.addTextTrack("captions", "Transcript");
    const shown = new Set([...(track.current.cues ?? [])].map((cue) => cue.id));
    segments.forEach((segment, index) => {
      if (segment?.start === undefined || segment.end === undefined || shown.has(String(index))) return;
      const cue = new VTTCue(segment.start, segment.end, segment.text);
      cue.id = String(index);
      track.current?.addCue(cue);
    });
  }, [video, segments]);
}
