"use client";

import { useAnalyses } from "./AnalysesProvider";
import { EntryCard } from "./EntryCard";
import { Intake } from "./Intake";
import styles from "./Analyse.module.css";

/** The section "Analyse": where files come in, and what became of them. */
export function Analyse() {
  const { entries } = useAnalyses();
  return (
    <>
      <h2 className="visually-hidden">Analyse</h2>
      <Intake />
      <ol className={styles.entries} aria-label="Analyses, newest first">
        {entries.map((entry) => (
          <li key={entry.id}>
            <EntryCard entry={entry} />
          </li>
        ))}
      </ol>
    </>
  );
}
