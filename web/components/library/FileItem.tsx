import { CodeText } from "@/components/shared/CodeText";
import { duration, fileSize } from "@/components/shared/format";
import { ProgressBar } from "@/components/shared/ProgressBar";
import { apiUrl } from "@/lib/api";
import type { LibraryFile } from "@/lib/library";
import { counted } from "./counted";
import styles from "./library.module.css";

interface FileItemProps {
  file: LibraryFile;
  onRetry: () => void;
  onDelete: () => void;
}

/** One file: what it is, how far it is indexed, and why it failed. */
export function FileItem({ file, onRetry, onDelete }: FileItemProps) {
  return (
    <li className={styles.file}>
      <div>
        <a href={apiUrl(`/files/${file.file_id}/content`)} target="_blank" rel="noreferrer">
          {file.path}
        </a>{" "}
        <span className={`muted ${styles.facts}`}>
          {KINDS[file.file_type]}, {fileSize(file.file_size)}
        </span>
        <FileState file={file} />
      </div>
      <div className="row">
        {file.status === "failed" && (
          <button type="button" aria-label={`Try again: ${file.filename}`} onClick={onRetry}>
            Try again
          </button>
        )}
        <button type="button" aria-label={`Delete ${file.filename}`} onClick={onDelete}>
          Delete
        </button>
      </div>
    </li>
  );
}

const KINDS = { document: "Document", image: "Picture", audio: "Sound", video: "Video" } as const;

function FileState({ file: { status, progress, error, total_chunks } }: { file: LibraryFile }) {
  if (status === "failed") {
    return (
      <p className={styles.failed}>
        Not indexed: <CodeText text={error?.message ?? ""} />
      </p>
    );
  }
  if (status === "completed") {
    return (
      <p>
        Indexed, {counted(total_chunks, "passage")}.{progress.message && ` ${progress.message}`}
      </p>
    );
  }
  if (status === "pending") return <p>Waiting to be indexed. {progress.message}</p>;
  const stage = [STAGES[progress.stage] ?? progress.stage, progress.message].filter(Boolean).join(" ");
  const left = progress.eta_s === null ? undefined : `about ${duration(progress.eta_s)} left`;
  return <ProgressBar label={stage} fraction={progress.fraction} note={left} />;
}

/** The stages of indexing, as `progress.stage` names them. */
const STAGES: Record<string, string> = {
  waiting: "Waiting",
  reading: "Reading",
  decoding: "Looking for scenes",
  describing: "Describing",
  transcribing: "Transcribing",
  embedding: "Making it searchable",
  storing: "Storing",
};
