"use client";

import { type FormEvent, useState } from "react";

import { useJob } from "@/lib/job";
import { type Entry, type Question, useAnalyses } from "./AnalysesProvider";
import { JobState } from "./JobState";
import { Picture } from "./Picture";
import styles from "./PictureQuestions.module.css";
import { PictureText } from "./PictureText";

/** A picture, what was asked about it with the answers, and a field for the next question. */
export function PictureQuestions({ entry }: { entry: Extract<Entry, { type: "image" }> }) {
  const { ask } = useAnalyses();
  const [question, setQuestion] = useState("");
  const [media] = entry.files;
  const { name } = media.file;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!question.trim()) return;
    ask(entry.id, question.trim());
    setQuestion("");
  };
  return (
    <div className={styles.picture}>
      <Picture media={media} />
      <div className={styles.texts}>
        {entry.questions.map((each, index) => (
          <Answer key={index} question={each} name={name} />
        ))}
        <form className="row" onSubmit={submit}>
          <input
            aria-label={`Ask about ${name}`}
            placeholder="Ask about this picture"
            value={question}
            onChange={(event) => setQuestion(event.target.value)}
          />
          <button type="submit" disabled={!question.trim()}>
            Ask
          </button>
        </form>
      </div>
    </div>
  );
}

function Answer({ question, name }: { question: Question; name: string }) {
  const { status, state } = useJob(question.job);
  return (
    <section aria-label={question.text || "Description"}>
      {question.text && <h4>{question.text}</h4>}
      <PictureText known={state} isWriting={status === "working"} />
      <JobState job={question.job} name={question.text || name} position={state.position} stages={state.stages} />
    </section>
  );
}
