"use client";

import { ErrorNotice } from "@/components/shared/Notice";
import type { BatchFile, Known } from "@/lib/analysis";
import { type JobSnapshot, useJob } from "@/lib/job";
import { KIND_NAMES } from "@/lib/kinds";
import type { Entry, Media } from "./AnalysesProvider";
import { AudioView } from "./AudioView";
import styles from "./BatchView.module.css";
import { JobState } from "./JobState";
import { Picture } from "./Picture";
import { PictureText } from "./PictureText";
import { VideoView } from "./VideoView";

/** Several files in one request: a row for each, which opens. */
export function BatchView({ entry }: { entry: Extract<Entry, { type: "batch" }> }) {
  const { status, state } = useJob(entry.job);
  const active = state.files.find(({ known }) => known.stages.length > 0);
  return (
    <>
      <JobState
        job={entry.job}
        name={`${entry.files.length} files`}
        position={state.position}
        stages={active?.known.stages ?? []}
      />
      <ol className={styles.rows}>
        {entry.files.map((media, index) => {
          const row = state.files[index];
          return row && <Row key={index} media={media} row={row} status={status} />;
        })}
      </ol>
    </>
  );
}

type Status = JobSnapshot<unknown>["status"];

function Row({ media, row: { known, error }, status }: { media: Media; row: BatchFile; status: Status }) {
  const { file, kind } = media;
  return (
    <li>
      <details>
        <summary>
          <span className={styles.name}>{file.name}</span>
          <span className="muted">{KIND_NAMES[kind]}</span>
          <span className={styles.state}>{stateOf(known, error !== null, status)}</span>
          <span className={styles.excerpt}>{error?.message ?? excerptOf(known)}</span>
        </summary>
        {error && <ErrorNotice error={error} />}
        {kind === "image" && (
          <div className={styles.picture}>
            <Picture media={media} />
            <PictureText known={known} isWriting={status === "working" && !known.result} />
          </div>
        )}
        {kind === "video" && <VideoView media={media} known={known} />}
        {kind === "audio" && <AudioView media={media} known={known} />}
      </details>
    </li>
  );
}

function stateOf(known: Known, hasFailed: boolean, status: Status): string {
  if (hasFailed) return "failed";
  if (known.result) return "done";
  if (status !== "working") return "not done";
  return known.stages.length > 0 || excerptOf(known) ? "working" : "waiting";
}

/** The first words of what is known. */
function excerptOf(known: Known): string {
  const frame = known.frames.find((each) => each?.description)?.description;
  const said = known.segments.map((segment) => segment?.text ?? "").join(" ");
  return known.description || known.summary || frame || said;
}
