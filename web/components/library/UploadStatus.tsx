import { CodeText } from "@/components/shared/CodeText";
import type { UploadState } from "@/lib/uploadQueue";
import { counted } from "./counted";
import styles from "./library.module.css";

interface UploadStatusProps {
  state: UploadState;
  /** Files and folders that the browser could not read, a sentence each. */
  unreadable: readonly string[];
  onCancel: () => void;
  onResume: () => void;
  onRetryRefused: () => void;
}

/** How far the upload of the chosen files is, and what was refused and why. */
export function UploadStatus({ state, unreadable, onCancel, onResume, onRetryRefused }: UploadStatusProps) {
  const numDone = state.numAdded + state.numKnown + state.refused.length;
  const numAll = numDone + state.waiting.length + state.current.length;
  const isRunning = state.current.length > 0;
  const outcome = [
    `${state.numAdded} added`,
    ...(state.numKnown ? [`${state.numKnown} already there`] : []),
    ...(state.refused.length ? [`${state.refused.length} refused`] : []),
  ].join(", ");

  return (
    <>
      {isRunning && (
        <div className="row">
          <progress value={numDone} max={numAll} aria-label="Files sent" />
          <span className={styles.current}>
            {numDone} of {numAll} sent; now {state.current.map(({ path }) => path).join(", ")}
          </span>
          <button type="button" onClick={onCancel}>
            Cancel
          </button>
        </div>
      )}
      <p role="status">
        {numAll > 0 && numAll === numDone && `${outcome}.`}
        {state.isServerBusy && "The server is busy; sending goes on as soon as it has room."}
      </p>
      {state.interruption !== null && (
        <div className={styles.refused} role="alert">
          <p>
            <CodeText text={state.interruption} /> Not sent yet: {counted(state.waiting.length, "file")}.
          </p>
          <div className="row">
            <button type="button" onClick={onResume}>
              Go on
            </button>
            <button type="button" onClick={onCancel}>
              Cancel
            </button>
          </div>
        </div>
      )}
      {(state.refused.length > 0 || unreadable.length > 0) && (
        <div className={styles.refused} role="alert">
          <ul>
            {unreadable.map((sentence, index) => (
              <li key={index}>{sentence}</li>
            ))}
            {state.refused.map(({ found, reason }, index) => (
              <li key={index}>
                <strong>{found.path}</strong>: <CodeText text={reason} />
              </li>
            ))}
          </ul>
          {state.refused.length > 0 && !isRunning && (
            <button type="button" onClick={onRetryRefused}>
              Send these again
            </button>
          )}
        </div>
      )}
    </>
  );
}
