import type { Known } from "@/lib/analysis";
import { ModelNote } from "./ModelNote";
import styles from "./PictureText.module.css";

/** A description as far as it is written. It is read out once it is complete. */
export function PictureText({ known, isWriting }: { known: Known; isWriting: boolean }) {
  const metadata = known.result?.type === "image" ? known.result.metadata : null;
  return (
    <>
      <p className={styles.text} aria-live="polite" aria-busy={isWriting}>
        {known.description}
        {isWriting && known.description && <span className={styles.cursor} aria-hidden="true" />}
      </p>
      {metadata?.finish_reason === "length" && <p className="muted">Cut off at the longest length.</p>}
      {metadata && <ModelNote model={metadata.model} milliseconds={metadata.processing_time_ms} />}
    </>
  );
}
