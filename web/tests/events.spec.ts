import { expect, test } from "@playwright/test";

import { afterEvent, NOTHING_KNOWN } from "../lib/analysis";
import { postForEvents, readEvents, type ServerEvent } from "../lib/events";

// What no server can be made to do on demand: bytes that arrive in any pieces, and a connection that breaks.

const STREAM = 'event: queued\ndata: {"position": 0}\n\n: still here\n\nevent: token\ndata: {"text": "ein Rädchen"}\n\n';

function bodyOf(text: string, bytesPerChunk: number): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  return new ReadableStream({
    start(controller) {
      for (let start = 0; start < bytes.length; start += bytesPerChunk) {
        controller.enqueue(bytes.slice(start, start + bytesPerChunk));
      }
      controller.close();
    },
  });
}

test("events are read however their bytes are divided, without heartbeats", async () => {
  for (const bytesPerChunk of [1, 7, 1000]) {
    const events: ServerEvent[] = [];
    for await (const event of readEvents(bodyOf(STREAM, bytesPerChunk))) events.push(event);
    expect(events).toEqual([
      { name: "queued", data: { position: 0 } },
      { name: "token", data: { text: "ein Rädchen" } },
    ]);
  }
});

test("a stream that ends before its result is a server that does not answer, not a success", async () => {
  const original = globalThis.fetch;
  globalThis.fetch = () => Promise.resolve(new Response(bodyOf(STREAM, 1000)));
  const names: string[] = [];
  try {
    const reading = async () => {
      for await (const { name } of postForEvents("/", {}, ["result"], new AbortController().signal)) names.push(name);
    };
    await expect(reading()).rejects.toMatchObject({ code: "UNREACHABLE" });
  } finally {
    globalThis.fetch = original;
  }
  expect(names).toEqual(["queued", "token"]);
});

test("a stage ends those before it; the pictures and the sound of a video go on side by side", () => {
  let known = NOTHING_KNOWN;
  const stagesAfter = (stage: string, fraction: number | null) => {
    known = afterEvent(known, { name: "progress", data: { stage, fraction, eta_seconds: null } });
    return known.stages.map((each) => `${each.stage} ${each.fraction}`);
  };
  expect(stagesAfter("sample", null)).toEqual(["sample null"]);
  expect(stagesAfter("frames", 0.2)).toEqual(["frames 0.2"]);
  expect(stagesAfter("transcribe", 0.5)).toEqual(["frames 0.2", "transcribe 0.5"]);
  expect(stagesAfter("frames", 1)).toEqual(["frames 1", "transcribe 0.5"]);
  expect(stagesAfter("summary", null)).toEqual(["transcribe 0.5", "summary null"]);
});
