"use client";

import { type ChangeEvent, useEffect, useEffectEvent, useRef, useState } from "react";

import { Notice } from "@/components/shared/Notice";
import { useFileDrop } from "@/components/shared/useFileDrop";
import { useAnalyses } from "./AnalysesProvider";
import { CaptureDialog, type CaptureKind } from "./CaptureDialog";
import { OptionFields } from "./OptionFields";
import styles from "./Intake.module.css";

/** Takes files: dropped anywhere in the window, chosen, pasted, or recorded with camera and microphone. */
export function Intake() {
  const { add } = useAnalyses();
  const [refused, setRefused] = useState<string[]>([]);
  const [capture, setCapture] = useState<CaptureKind | null>(null);
  const input = useRef<HTMLInputElement>(null);

  const take = (files: readonly File[]) => {
    if (files.length > 0) setRefused(add(files));
  };

  const isOver = useFileDrop((dropped) => take([...dropped.files]));
  const onPaste = useEffectEvent((event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return; // text, for a field
    event.preventDefault();
    take(files);
  });
  useEffect(() => {
    const listening = new AbortController();
    window.addEventListener("paste", (event) => onPaste(event), { signal: listening.signal });
    return () => listening.abort();
  }, []);

  const onChoose = (event: ChangeEvent<HTMLInputElement>) => {
    take([...(event.target.files ?? [])]);
    event.target.value = ""; // so that the same file can be chosen again
  };

  return (
    <section aria-label="Files to analyse" className={`card ${styles.intake} ${isOver ? styles.over : ""}`}>
      <p className={styles.invitation}>
        Drop or paste a picture, a video or a recording. Several at once become a batch.
      </p>
      <div className="row">
        <button type="button" className="primary" onClick={() => input.current?.click()}>
          Choose files
        </button>
        <button type="button" onClick={() => setCapture("picture")}>
          Take a picture
        </button>
        <button type="button" onClick={() => setCapture("video")}>
          Record a video
        </button>
        <button type="button" onClick={() => setCapture("sound")}>
          Record sound
        </button>
      </div>
      {/* No `accept`: browsers do not know the media types of all formats that the server reads. */}
      <input ref={input} type="file" multiple hidden onChange={onChoose} data-testid="files" />
      <OptionFields />
      {refused.length > 0 && (
        <div role="alert">
          <Notice kind="warning">
            <p>
              {refused.join(", ")}: neither picture, video nor sound by the name. Documents belong into the Library.
            </p>
          </Notice>
        </div>
      )}
      {capture && (
        <CaptureDialog
          kind={capture}
          onFile={(file) => take([file])}
          onClose={() => setCapture(null)}
        />
      )}
    </section>
  );
}
