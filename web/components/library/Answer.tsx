import { Fragment } from "react";

import { CodeText } from "@/components/shared/CodeText";
import { Notice } from "@/components/shared/Notice";
import type { Citation } from "@/lib/library";
import { describePlace, sourceOf } from "@/lib/places";
import styles from "./library.module.css";
import type { SearchState } from "./useSearch";

interface AnswerProps {
  state: SearchState;
  onStop: () => void;
  onOpen: (citation: Citation) => void;
}

/** The answer, each sentence with its citations as buttons; read out as it grows. */
export function Answer({ state, onStop, onOpen }: AnswerProps) {
  const { phase, sentences, citations, answeredBy, note } = state;
  const filenames = new Map(state.results.map(({ metadata }) => [metadata.file_id, metadata.filename]));
  return (
    <div className={phase === "idle" ? undefined : styles.answer} aria-live="polite" aria-busy={phase === "searching"}>
      {sentences.length > 0 && (
        <p>
          {sentences.map((sentence, index) => (
            <Fragment key={index}>
              {sentence.text}
              {sentence.citations.map((number) => (
                <CitationButton
                  key={number}
                  number={number}
                  citation={citations.find(({ citation_number }) => citation_number === number)}
                  filenames={filenames}
                  onOpen={onOpen}
                />
              ))}{" "}
            </Fragment>
          ))}
        </p>
      )}
      {(phase === "searching" || phase === "answering") && (
        <div className="row">
          <span className="muted">{phase === "searching" ? "Searching …" : "Answering …"}</span>
          <button type="button" onClick={onStop}>
            Stop
          </button>
        </div>
      )}
      {phase === "stopped" && <p>Stopped.</p>}
      {answeredBy === "extractive" && citations.length > 0 && !note && (
        <p className="muted">These are sentences of the files themselves, quoted.</p>
      )}
      {answeredBy !== null && answeredBy !== "extractive" && (
        <p className="muted">Written by {answeredBy} on the server. Each sentence was checked against the words it cites.</p>
      )}
      {note && (
        <Notice>
          <p>
            <CodeText text={note} />
          </p>
        </Notice>
      )}
    </div>
  );
}

interface CitationButtonProps {
  number: number;
  /** Missing for the moment between a sentence and its citations. */
  citation: Citation | undefined;
  filenames: ReadonlyMap<number, string>;
  onOpen: (citation: Citation) => void;
}

function CitationButton({ number, citation, filenames, onOpen }: CitationButtonProps) {
  if (!citation) return null;
  const place = [filenames.get(citation.file_id), describePlace(sourceOf(citation))].filter(Boolean).join(", ");
  return (
    <button
      type="button"
      className={styles.citation}
      title={place}
      aria-label={`Source ${number}: ${place}`}
      onClick={() => onOpen(citation)}
    >
      {number}
    </button>
  );
}
