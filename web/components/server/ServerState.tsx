"use client";

import { CodeText } from "@/components/shared/CodeText";
import { fileSize } from "@/components/shared/format";
import styles from "./ServerState.module.css";
import { type Health, useHealth } from "./useHealth";

const MEGABYTE = 1e6;

/** Models, memory and queue in a corner: a dot and a word, which open to the details. */
export function ServerState() {
  const health = useHealth();
  const { word, tone } = summaryOf(health);
  return (
    <div className={styles.server}>
      <button type="button" popoverTarget="server-state">
        <span className={`${styles.dot} ${styles[tone]}`} aria-hidden="true" />
        {word}
      </button>
      <p role="status" className="visually-hidden">
        Server: {word}
      </p>
      <div id="server-state" popover="auto" className={styles.panel} role="dialog" aria-label="State of the server">
        {health ? (
          <Details health={health} />
        ) : (
          <p>
            <CodeText text="Start the server with `prism serve`, or with `prism serve --mini` for the small models. This page looks for it every second." />
          </p>
        )}
      </div>
    </div>
  );
}

function Details({ health }: { health: Health }) {
  const { memory_usage_mb: used, available_memory_mb: free, cpu_usage_percent: cpu } = health.system_info;
  const troubled = health.deployments.filter(({ state, detail }) => state !== "running" || detail);
  return (
    <>
      <dl>
        <dt>Memory</dt>
        <dd>
          {fileSize(used * MEGABYTE)} used, {fileSize(free * MEGABYTE)} free on this machine
        </dd>
        <dt>CPU</dt>
        <dd>{Math.round(cpu)} %</dd>
        <dt>Queue</dt>
        <dd>
          {health.queue.requests} of {health.queue.places} places taken
        </dd>
      </dl>
      <h2>Models</h2>
      <ul>
        {health.models.map((model) => (
          <li key={model.name}>
            <b>{model.name}</b>: {model.state.replace("_", " ")}
            {model.detail && (
              <span className={styles.detail}>
                <CodeText text={model.detail} />
              </span>
            )}
          </li>
        ))}
      </ul>
      {troubled.length > 0 && (
        <>
          <h2>Processes</h2>
          <ul>
            {troubled.map(({ name, state, detail }) => (
              <li key={name}>
                <b>{name}</b>: {state}
                {detail && <span className={styles.detail}>{detail}</span>}
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function summaryOf(health: Health | null | undefined): { word: string; tone: "good" | "busy" | "bad" } {
  if (health === undefined) return { word: "Looking for the server", tone: "busy" };
  if (health === null) return { word: "The server does not answer", tone: "bad" };
  if (health.status === "loading") return { word: "Loading models", tone: "busy" };
  const isAllRight = health.models_loaded && health.deployments.every(({ state }) => state !== "failing");
  if (!isAllRight) return { word: "A part of the server fails", tone: "bad" };
  return { word: health.models.some((model) => model.is_miniature) ? "Ready (small models)" : "Ready", tone: "good" };
}
