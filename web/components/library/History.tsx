"use client";

import { useEffect, useState } from "react";

import { ErrorNotice } from "@/components/shared/Notice";
import { asRequestError, type RequestError } from "@/lib/errors";
import { clearHistory, getHistory, type HistoryEntry } from "@/lib/library";
import styles from "./library.module.css";

interface HistoryProps {
  /** How many searches have been made here; when there are more, the list is read again. */
  numSearches: number;
  onChoose: (query: string) => void;
}

/** Earlier searches, to be made again or forgotten. They are read once the list is open. */
export function History({ numSearches, onChoose }: HistoryProps) {
  const [isOpen, setOpen] = useState(false);
  const [entries, setEntries] = useState<HistoryEntry[] | null>(null);
  const [error, setError] = useState<RequestError | null>(null);
  const fail = (thrown: unknown) => setError(asRequestError(thrown));

  useEffect(() => {
    if (!isOpen) return;
    getHistory().then(
      (read) => {
        setEntries(read);
        setError(null);
      },
      (thrown: unknown) => setError(asRequestError(thrown)),
    );
  }, [isOpen, numSearches]);

  const queries = [...new Set(entries?.map(({ query }) => query))];
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Earlier searches</summary>
      {error && <ErrorNotice error={error} />}
      {entries && queries.length === 0 && <p>There are none, or the server is set not to keep them.</p>}
      <ul className={`${styles.list} ${styles.history}`}>
        {queries.map((query) => (
          <li key={query}>
            <button type="button" onClick={() => onChoose(query)}>
              {query}
            </button>
          </li>
        ))}
      </ul>
      {queries.length > 0 && (
        <button type="button" onClick={() => void clearHistory().then(() => setEntries([]), fail)}>
          Forget them all
        </button>
      )}
    </details>
  );
}
