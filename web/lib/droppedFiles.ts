/** Files and whole folders that the user has dropped or chosen, each with the folders that it comes from. */

export interface FoundFile {
  file: File;
  /** Its name with its folders, such as "contracts/2024/lease.pdf". */
  path: string;
}

export interface FoundFiles {
  files: FoundFile[];
  /** What could not be read, a sentence each. */
  unreadable: string[];
}

/** The files of an `<input type="file">`, with `webkitdirectory` or without. */
export function chosenFiles(list: FileList): FoundFile[] {
  return Array.from(list, (file) => ({ file, path: file.webkitRelativePath || file.name })).filter(({ path }) => {
    const [, ...belowFolder] = path.split("/");
    return !belowFolder.some(isHidden);
  });
}

/**
 * The files of a drop; folders are read with everything below them.
 *
 * Call it in the handler of the event itself: afterwards the browser has emptied `transfer`.
 */
export function droppedFiles(transfer: DataTransfer): Promise<FoundFiles> {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return readEntries(entries);
}

async function readEntries(entries: readonly FileSystemEntry[]): Promise<FoundFiles> {
  const found: FoundFiles = { files: [], unreadable: [] };
  const waiting = [...entries];
  for (let entry = waiting.shift(); entry; entry = waiting.shift()) {
    const path = entry.fullPath.replace(/^\//, "");
    try {
      if (isDirectory(entry)) waiting.push(...(await childrenOf(entry)));
      else if (isFile(entry)) found.files.push({ file: await fileOf(entry), path });
    } catch (error) {
      found.unreadable.push(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return found;
}

/** What is hidden in a folder, such as .DS_Store and .git, is left out, as `prism add` does. */
function isHidden(name: string): boolean {
  return name.startsWith(".");
}

function isDirectory(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile;
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function childrenOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const children: FileSystemEntry[] = [];
  for (;;) {
    // Chrome returns at most 100 entries a call, and none after the last.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return children;
    children.push(...part.filter(({ name }) => !isHidden(name)));
  }
}
