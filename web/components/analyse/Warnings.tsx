import { Notice } from "@/components/shared/Notice";

/** What the result does not contain, because the file is damaged. */
export function Warnings({ warnings = [] }: { warnings?: readonly string[] }) {
  return warnings.map((warning) => (
    <Notice key={warning} kind="warning">
      <p>{warning}</p>
    </Notice>
  ));
}
