"use client";

import { fileSize } from "@/components/shared/format";
import { useJob } from "@/lib/job";
import { KIND_NAMES } from "@/lib/kinds";
import { type Entry, useAnalyses } from "./AnalysesProvider";
import { AudioView } from "./AudioView";
import { BatchView } from "./BatchView";
import styles from "./EntryCard.module.css";
import { JobState } from "./JobState";
import { PictureQuestions } from "./PictureQuestions";
import { VideoView } from "./VideoView";

/** One analysis, or a batch: its name, its state and what is known. */
export function EntryCard({ entry }: { entry: Entry }) {
  const { remove } = useAnalyses();
  const name = nameOf(entry);
  const headingId = `entry-${entry.id}`;
  const removeAndGoOn = () => {
    remove(entry.id);
    document.getElementById("content")?.focus(); // the button is gone: the keyboard goes on from the top
  };
  return (
    <article className="card" aria-labelledby={headingId}>
      <header className={styles.header}>
        <h3 id={headingId}>{name}</h3>
        <span className="muted">{aboutOf(entry)}</span>
        <button type="button" aria-label={`Remove ${name}`} onClick={removeAndGoOn}>
          Remove
        </button>
      </header>
      <EntryBody entry={entry} />
    </article>
  );
}

function EntryBody({ entry }: { entry: Entry }) {
  switch (entry.type) {
    case "image":
      return <PictureQuestions entry={entry} />;
    case "batch":
      return <BatchView entry={entry} />;
    default:
      return <FileEntry entry={entry} />;
  }
}

function FileEntry({ entry }: { entry: Extract<Entry, { type: "video" | "audio" }> }) {
  const { state } = useJob(entry.job);
  const [media] = entry.files;
  return (
    <>
      <JobState job={entry.job} name={media.file.name} position={state.position} stages={state.stages} />
      {entry.type === "video" ? (
        <VideoView media={media} known={state} />
      ) : (
        <AudioView media={media} known={state} />
      )}
    </>
  );
}

function nameOf(entry: Entry): string {
  return entry.type === "batch" ? `${entry.files.length} files` : entry.files[0].file.name;
}

function aboutOf(entry: Entry): string {
  return entry.type === "batch" ? "batch" : `${KIND_NAMES[entry.type]}, ${fileSize(entry.files[0].file.size)}`;
}
