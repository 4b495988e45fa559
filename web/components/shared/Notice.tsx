import type { ReactNode } from "react";

import type { RequestError } from "@/lib/errors";
import { CodeText } from "./CodeText";
import styles from "./Notice.module.css";

/** A note beside the work: `warning` for what is incomplete, `info` for the rest. */
export function Notice({ kind = "info", children }: { kind?: "info" | "warning"; children: ReactNode }) {
  return <div className={`${styles.notice} ${styles[kind]}`}>{children}</div>;
}

/** A failure: the server's own message, which says what to do, and a button to try again if that makes sense. */
export function ErrorNotice({ error, onRetry }: { error: RequestError; onRetry?: () => void }) {
  const { retryAfterSeconds, requestId } = error.details;
  return (
    <div className={`${styles.notice} ${styles.error}`} role="alert">
      <p>
        <CodeText text={error.message} />
      </p>
      {retryAfterSeconds !== undefined && <p>It expects to have room in about {retryAfterSeconds} s.</p>}
      <p className={styles.details}>
        {error.code}
        {requestId && `, request ${requestId}`}
      </p>
      {onRetry && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
