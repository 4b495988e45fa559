import { FILE_TYPES, type FileType } from "@/lib/library";

export const TYPE_NAMES: Record<FileType, string> = {
  document: "Documents",
  image: "Pictures",
  audio: "Sound",
  video: "Videos",
};

interface TypeSelectProps {
  value: FileType | null;
  onChange: (type: FileType | null) => void;
}

/** Chooses a kind of file, or all. */
export function TypeSelect({ value, onChange }: TypeSelectProps) {
  return (
    <select
      aria-label="Kind of file"
      value={value ?? ""}
      onChange={(event) => onChange(FILE_TYPES.find((type) => type === event.target.value) ?? null)}
    >
      <option value="">All kinds</option>
      {FILE_TYPES.map((type) => (
        <option key={type} value={type}>
          {TYPE_NAMES[type]}
        </option>
      ))}
    </select>
  );
}
