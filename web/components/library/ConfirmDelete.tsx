import type { LibraryFile } from "@/lib/library";
import { Dialog } from "./Dialog";

interface ConfirmDeleteProps {
  file: LibraryFile;
  onCancel: () => void;
  onConfirm: () => void;
}

/** Asks before a file is deleted: that cannot be undone. */
export function ConfirmDelete({ file, onCancel, onConfirm }: ConfirmDeleteProps) {
  return (
    <Dialog title={`Delete ${file.filename}?`} onClose={onCancel}>
      <p>The library’s copy and its text are deleted, and it is in no answer any more. Your own file stays where it is.</p>
      <div className="row">
        <button type="button" onClick={onConfirm}>
          Delete from the library
        </button>
      </div>
    </Dialog>
  );
}
