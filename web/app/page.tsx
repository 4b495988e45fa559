export default function AnalysePage() {
  return <h2>Analyse</h2>;
}
