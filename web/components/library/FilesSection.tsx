"use client";

import { useRef, useState } from "react";

import { ErrorNotice, Notice } from "@/components/shared/Notice";
import { asRequestError, type RequestError } from "@/lib/errors";
import { deleteFile, type FileType, type LibraryFile, type LibraryState, retryFile } from "@/lib/library";
import { AddFiles } from "./AddFiles";
import { ConfirmDelete } from "./ConfirmDelete";
import { counted } from "./counted";
import { FileItem } from "./FileItem";
import styles from "./library.module.css";
import { TYPE_NAMES, TypeSelect } from "./TypeSelect";
import { FILES_PER_PAGE, useFiles } from "./useFiles";

/** The files of the library, newest first, a page at a time, with their progress while they are indexed. */
export function FilesSection() {
  const [type, setType] = useState<FileType | null>(null);
  const [name, setName] = useState("");
  const [offset, setOffset] = useState(0);
  const files = useFiles({ type, name }, offset);
  const [toDelete, setToDelete] = useState<LibraryFile | null>(null);
  const [failure, setFailure] = useState<RequestError | null>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const { page, counts } = files;

  async function change(action: Promise<void>): Promise<void> {
    setFailure(null);
    await action.catch((thrown: unknown) => setFailure(asRequestError(thrown)));
    files.reload();
  }

  async function remove(file: LibraryFile) {
    setToDelete(null);
    await change(deleteFile(file.file_id));
    heading.current?.focus(); // the button that had the focus is gone
  }

  return (
    <section className={styles.files} aria-labelledby="library-files">
      <h2 id="library-files" ref={heading} tabIndex={-1}>
        Files
      </h2>
      <AddFiles />
      <div className="row" role="search" aria-label="Files">
        <input
          type="search"
          value={name}
          aria-label="Part of the file's name or folder"
          placeholder="Name or folder"
          onChange={(event) => {
            setName(event.target.value);
            setOffset(0);
          }}
        />
        <TypeSelect
          value={type}
          onChange={(chosen) => {
            setType(chosen);
            setOffset(0);
          }}
        />
      </div>
      <p role="status">{counts && summary(counts)}</p>
      {files.isConnected === false && (
        <Notice kind="warning">
          The connection to the server is lost. The list is brought up to date as soon as it is back.
        </Notice>
      )}
      {files.error && <ErrorNotice error={files.error} onRetry={files.reload} />}
      {failure && <ErrorNotice error={failure} />}
      {page?.total === 0 && (type || name) && <p>{noMatchNote(type, name)}</p>}
      {page && (
        <ul className={styles.list}>
          {page.files.map((file) => (
            <FileItem
              key={file.file_id}
              file={file}
              onRetry={() => void change(retryFile(file.file_id))}
              onDelete={() => setToDelete(file)}
            />
          ))}
        </ul>
      )}
      {page && (offset > 0 || page.total > FILES_PER_PAGE) && <Pages offset={offset} total={page.total} onChange={setOffset} />}
      {toDelete && (
        <ConfirmDelete file={toDelete} onCancel={() => setToDelete(null)} onConfirm={() => void remove(toDelete)} />
      )}
    </section>
  );
}

interface PagesProps {
  offset: number;
  total: number;
  onChange: (offset: number) => void;
}

function Pages({ offset, total, onChange }: PagesProps) {
  const end = Math.min(offset + FILES_PER_PAGE, total);
  return (
    <nav className="row" aria-label="Pages of the list of files">
      <button type="button" disabled={offset === 0} onClick={() => onChange(Math.max(0, offset - FILES_PER_PAGE))}>
        Newer
      </button>
      <span>
        {Math.min(offset + 1, total)}–{end} of {total}
      </span>
      <button type="button" disabled={end >= total} onClick={() => onChange(end)}>
        Older
      </button>
    </nav>
  );
}

function summary({ state, detail, total_files, active_files }: LibraryState): string {
  if (state === "unavailable") return detail;
  if (total_files === 0) return "The library is empty. Put in a folder, and then ask.";
  const files = counted(total_files, "file");
  return active_files === 0 ? `${files}, all indexed.` : `${files}, ${active_files} still to be indexed.`;
}

function noMatchNote(type: FileType | null, name: string): string {
  return `No ${type ? TYPE_NAMES[type].toLowerCase() : "files"} here${name ? ` with “${name}” in the name` : ""}.`;
}
