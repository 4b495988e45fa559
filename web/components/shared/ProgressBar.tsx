import styles from "./ProgressBar.module.css";

/** A bar with its words below. `fraction` is null while nobody knows how much is left. */
export function ProgressBar({ label, fraction, note }: { label: string; fraction: number | null; note?: string }) {
  return (
    <div className={styles.progress}>
      <progress aria-label={label} max={1} value={fraction ?? undefined} />
      <p>
        {label}
        {fraction !== null && `, ${Math.round(fraction * 100)} %`}
        {note && ` · ${note}`}
      </p>
    </div>
  );
}
