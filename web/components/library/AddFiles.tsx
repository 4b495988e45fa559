"use client";

import { type ChangeEvent, useId, useState, useSyncExternalStore } from "react";

import { useFileDrop } from "@/components/shared/useFileDrop";
import { chosenFiles, droppedFiles } from "@/lib/droppedFiles";
import { NO_UPLOADS, UploadQueue } from "@/lib/uploadQueue";
import styles from "./library.module.css";
import { UploadStatus } from "./UploadStatus";

/** Uploads go on while another section of the page is shown. */
const queue = new UploadQueue();

/** Takes files and whole folders, dropped anywhere in the window or chosen, and sends them. */
export function AddFiles() {
  const state = useSyncExternalStore(queue.subscribe, queue.state, () => NO_UPLOADS);
  const [unreadable, setUnreadable] = useState<string[]>([]);
  const hint = useId();

  const isOver = useFileDrop((dropped) => {
    void droppedFiles(dropped).then((found) => {
      setUnreadable(found.unreadable);
      queue.add(found.files);
    });
  });

  function choose(event: ChangeEvent<HTMLInputElement>) {
    if (event.target.files) queue.add(chosenFiles(event.target.files));
    setUnreadable([]);
    event.target.value = ""; // so that the same choice can be made again
  }

  return (
    <div className={styles.add}>
      <div className={styles.drop} data-over={isOver}>
        <p id={hint}>Drop files or whole folders here: documents, pictures, sound and videos.</p>
        <div className="row">
          <FileChooser label="Choose files" describedBy={hint} onChange={choose} />
          <FileChooser label="Choose a folder" describedBy={hint} isFolder onChange={choose} />
        </div>
      </div>
      <UploadStatus
        state={state}
        unreadable={unreadable}
        onCancel={() => queue.cancel()}
        onResume={() => queue.resume()}
        onRetryRefused={() => queue.retryRefused()}
      />
    </div>
  );
}

interface FileChooserProps {
  label: string;
  describedBy: string;
  isFolder?: boolean;
  onChange: (event: ChangeEvent<HTMLInputElement>) => void;
}

function FileChooser({ label, describedBy, isFolder = false, onChange }: FileChooserProps) {
  return (
    <label className={styles.chooser}>
      {label}
      <input
        className="visually-hidden"
        type="file"
        multiple
        webkitdirectory={isFolder ? "" : undefined}
        aria-describedby={describedBy}
        onChange={onChange}
      />
    </label>
  );
}
