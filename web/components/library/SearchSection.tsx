"use client";

import { useState } from "react";

import { ErrorNotice } from "@/components/shared/Notice";
import { FILE_TYPES, type FileType } from "@/lib/library";
import { type Place, placeOfCitation, placeOfResult } from "@/lib/places";
import { Answer } from "./Answer";
import { History } from "./History";
import styles from "./library.module.css";
import { Results } from "./Results";
import { TYPE_NAMES } from "./TypeSelect";
import { useSearch } from "./useSearch";

/** The question, its answer with citations as it arrives, and the passages that were found. */
export function SearchSection({ onOpen }: { onOpen: (place: Place) => void }) {
  const [query, setQuery] = useState("");
  const [types, setTypes] = useState<readonly FileType[]>([]);
  const { state, start, stop } = useSearch();

  function ask(question: string) {
    setQuery(question);
    if (question.trim()) start(question, types);
  }

  return (
    <section className={styles.search} aria-labelledby="library-search">
      <h2 id="library-search">Ask the library</h2>
      <form
        role="search"
        aria-labelledby="library-search"
        onSubmit={(event) => {
          event.preventDefault();
          ask(query);
        }}
      >
        <div className={styles.query}>
          <input
            type="search"
            value={query}
            maxLength={1000}
            required
            aria-label="Question or words"
            placeholder={'Question or words; "in quotes": these very words'}
            onChange={(event) => setQuery(event.target.value)}
          />
          <button type="submit" className="primary">
            Search
          </button>
        </div>
        <TypeFilter value={types} onChange={setTypes} />
      </form>
      <History numSearches={state.numDone} onChoose={ask} />
      {state.error && <ErrorNotice error={state.error} onRetry={() => start(state.query, types)} />}
      <Answer
        state={state}
        onStop={stop}
        onOpen={(citation) =>
          onOpen(placeOfCitation(citation, state.results.find((result) => result.chunk_id === citation.chunk_id)))
        }
      />
      <Results state={state} onOpen={(result) => onOpen(placeOfResult(result))} />
    </section>
  );
}

interface TypeFilterProps {
  value: readonly FileType[];
  onChange: (types: FileType[]) => void;
}

/** Chooses kinds of files; none chosen means all. */
function TypeFilter({ value, onChange }: TypeFilterProps) {
  return (
    <fieldset className={styles.types}>
      <legend>Only in</legend>
      {FILE_TYPES.map((type) => (
        <label key={type}>
          <input
            type="checkbox"
            checked={value.includes(type)}
            onChange={({ target }) => onChange(target.checked ? [...value, type] : value.filter((other) => other !== type))}
          />{" "}
          {TYPE_NAMES[type]}
        </label>
      ))}
    </fieldset>
  );
}
