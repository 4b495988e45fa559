import { Analyse } from "@/components/analyse/Analyse";

export default function AnalysePage() {
  return <Analyse />;
}
