"use client";

import { ErrorNotice } from "@/components/shared/Notice";
import { ProgressBar } from "@/components/shared/ProgressBar";
import { duration } from "@/components/shared/format";
import type { Progress } from "@/lib/analysis";
import { type JobHandle, useJob } from "@/lib/job";
import styles from "./JobState.module.css";

const STAGES: Record<string, string> = {
  decode: "Opening the file",
  read: "Looking at the picture",
  write: "Writing",
  sample: "Choosing frames",
  frames: "Describing frames",
  summary: "Summing up",
  transcribe: "Transcribing",
  speakers: "Telling speakers apart",
};

interface Props {
  job: JobHandle<unknown>;
  /** What is analysed, for people who do not see it. */
  name: string;
  /** Requests that are served before; null until the server has said so. */
  position: number | null;
  stages: readonly Progress[];
}

/** What the button does in each state. It is one button, so that it keeps the focus when the state changes. */
const ACTIONS = { working: "Cancel", failed: "Try again", cancelled: "Start again" };

/** How far a job is, or why it failed; with a button that cancels it, or starts it again. */
export function JobState({ job, name, position, stages }: Props) {
  const { status, error } = useJob(job);
  return (
    <div className={`${styles.job} ${status === "done" ? styles.done : ""}`}>
      {status === "working" && <Working stages={stages} position={position} />}
      {error && <ErrorNotice error={error} />}
      {status === "cancelled" && <p>Cancelled.</p>}
      {status !== "done" && (
        <button
          type="button"
          aria-label={`${ACTIONS[status]} ${name}`}
          onClick={() => (status === "working" ? job.cancel() : void job.start())}
        >
          {ACTIONS[status]}
        </button>
      )}
      <p role="status" className="visually-hidden">
        {status === "working" ? `Analysing ${name}` : status === "done" ? `${name} is done` : ""}
      </p>
    </div>
  );
}

function Working({ stages, position }: Pick<Props, "position" | "stages">) {
  if (stages.length === 0) return <ProgressBar label={waitingFor(position)} fraction={null} />;
  return stages.map(({ stage, fraction, eta_seconds: eta }) => (
    <ProgressBar
      key={stage}
      label={STAGES[stage] ?? stage}
      fraction={fraction}
      note={eta === null ? undefined : `about ${duration(eta)} left in all`}
    />
  ));
}

function waitingFor(position: number | null): string {
  if (position === null) return "Sending the file";
  if (position === 0) return "It begins";
  return position === 1 ? "Waiting: it is next" : `Waiting: number ${position} in the queue`;
}
