"use client";

import { ErrorNotice } from "@/components/shared/Notice";
import { ProgressBar } from "@/components/shared/ProgressBar";
import { duration } from "@/components/shared/format";
import type { Progress } from "@/lib/analysis";
import { type JobHandle, useJob } from "@/lib/job";

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

/** How far a job is, with a button that cancels it; or why it failed, with one that starts it again. */
export function JobState({ job, name, position, stages }: Props) {
  const { status, error } = useJob(job);
  const again = () => void job.start();
  return (
    <>
      {status === "working" && <Working stages={stages} position={position} />}
      {status === "working" && (
        <button type="button" aria-label={`Cancel ${name}`} onClick={() => job.cancel()}>
          Cancel
        </button>
      )}
      {status === "failed" && error && <ErrorNotice error={error} onRetry={again} />}
      {status === "cancelled" && (
        <p className="row">
          Cancelled.
          <button type="button" onClick={again}>
            Start again
          </button>
        </p>
      )}
      <p role="status" className="visually-hidden">
        {status === "working" ? `Analysing ${name}` : status === "done" ? `${name} is done` : ""}
      </p>
    </>
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
  if (position === 0) return "It is next";
  return position === 1 ? "Waiting: one request is served first" : `Waiting: ${position} requests are served first`;
}
