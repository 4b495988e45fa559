import type { SearchResult } from "@/lib/library";
import { describePlace, sourceOf } from "@/lib/places";
import { counted } from "./counted";
import styles from "./library.module.css";
import type { SearchState } from "./useSearch";

interface ResultsProps {
  state: SearchState;
  onOpen: (result: SearchResult) => void;
}

/** The passages that were found, the best first; each opens its place. */
export function Results({ state: { results, queryTimeS }, onOpen }: ResultsProps) {
  if (queryTimeS === null) return null;
  return (
    <section aria-labelledby="library-results">
      <h3 id="library-results">
        {counted(results.length, "passage")}{" "}
        <span className="muted">found in {queryTimeS.toFixed(2)} s</span>
      </h3>
      <ol className={styles.list}>
        {results.map((result) => (
          <li key={result.chunk_id} className={styles.result}>
            <button type="button" onClick={() => onOpen(result)}>
              <strong>{result.metadata.filename}</strong> {describePlace(sourceOf(result.metadata))}
            </button>
            <p>{result.metadata.text}</p>
          </li>
        ))}
      </ol>
    </section>
  );
}
