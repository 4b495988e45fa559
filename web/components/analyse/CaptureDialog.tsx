"use client";

import { useEffect, useRef, useState } from "react";

import { Notice } from "@/components/shared/Notice";
import { clock } from "@/components/shared/format";
import styles from "./CaptureDialog.module.css";

export type CaptureKind = "picture" | "video" | "sound";

const TITLES: Record<CaptureKind, string> = {
  picture: "Take a picture",
  video: "Record a video",
  sound: "Record sound",
};

interface Props {
  kind: CaptureKind;
  onFile: (file: File) => void;
  onClose: () => void;
}

/** Takes a picture with the camera, or records with camera and microphone. Closing it turns both off. */
export function CaptureDialog({ kind, onFile, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const preview = useRef<HTMLVideoElement>(null);
  const { stream, problem } = useStream(kind);
  const [showsPicture, setShowsPicture] = useState(false);
  const recording = useRecording(stream, kind, (file) => {
    onFile(file);
    dialog.current?.close();
  });

  useEffect(() => dialog.current?.showModal(), []);
  useEffect(() => {
    if (preview.current) preview.current.srcObject = stream;
  }, [stream]);

  // A camera's stream is there before its first picture: until then the video has no size.
  const isReady = stream !== null && (kind === "sound" || showsPicture);
  const takePicture = async () => {
    const video = preview.current;
    if (!video) return;
    onFile(await pictureOf(video));
    dialog.current?.close();
  };

  return (
    <dialog ref={dialog} className={styles.dialog} aria-labelledby="capture-title" onClose={onClose}>
      <h2 id="capture-title">{TITLES[kind]}</h2>
      {problem && (
        <div role="alert">
          <Notice kind="warning">
            <p>{problem}</p>
          </Notice>
        </div>
      )}
      {kind !== "sound" && (
        <video
          ref={preview}
          autoPlay
          muted
          playsInline
          aria-label="What the camera sees"
          onLoadedData={() => setShowsPicture(true)}
        />
      )}
      <p role="status">
        {!stream && !problem && "Waiting for your permission in the browser."}
        {stream && !isReady && "Waiting for the camera."}
        {isReady && recording.seconds === null && "Ready."}
        {recording.seconds !== null && <span aria-hidden="true">Recording, {clock(recording.seconds)}</span>}
        {recording.seconds !== null && <span className="visually-hidden">Recording</span>}
      </p>
      <div className="row">
        {kind === "picture" ? (
          <button type="button" className="primary" disabled={!isReady} onClick={takePicture}>
            Take the picture
          </button>
        ) : recording.seconds === null ? (
          <button type="button" className="primary" disabled={!isReady} onClick={recording.start}>
            Start recording
          </button>
        ) : (
          <button type="button" className="primary" onClick={recording.stop}>
            Stop and analyse
          </button>
        )}
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}

/** The stream of camera and microphone while the component is shown, or why there is none. */
function useStream(kind: CaptureKind): { stream: MediaStream | null; problem: string | null } {
  const [stream, setStream] = useState<MediaStream | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    let isWanted = true;
    let opened: MediaStream | null = null;
    const stop = () => opened?.getTracks().forEach((track) => track.stop());
    openStream(kind)
      .then((media) => {
        opened = media;
        if (isWanted) setStream(media);
        else stop();
      })
      .catch((thrown: unknown) => isWanted && setProblem(problemOf(thrown, kind)));
    return () => {
      isWanted = false;
      stop();
    };
  }, [kind]);
  return { stream, problem };
}

async function openStream(kind: CaptureKind): Promise<MediaStream> {
  // Browsers offer no devices to a page from another machine without TLS.
  if (!("mediaDevices" in navigator)) throw new DOMException("no secure context", "SecurityError");
  return navigator.mediaDevices.getUserMedia({
    audio: kind !== "picture",
    video: kind !== "sound" && { facingMode: "environment" },
  });
}

function problemOf(thrown: unknown, kind: CaptureKind): string {
  const device = kind === "sound" ? "microphone" : "camera";
  switch (thrown instanceof DOMException ? thrown.name : "") {
    case "NotAllowedError":
      return `The browser may not use the ${device}. Allow it in the browser's settings for this page, then try again.`;
    case "NotFoundError":
      return `There is no ${device}. Connect one, or choose a file instead.`;
    case "NotReadableError":
      return `Another program is using the ${device}. Close that program, then try again.`;
    case "SecurityError":
      return `Browsers offer the ${device} only to pages of this machine. Open http://localhost instead, or choose a file.`;
    default:
      return `The ${device} cannot be used: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
  }
}

/** Records a stream. `seconds` is null while it does not; `onFile` gets the recording once it is stopped. */
function useRecording(
  stream: MediaStream | null,
  kind: CaptureKind,
  onFile: (file: File) => void,
): { seconds: number | null; start: () => void; stop: () => void } {
  const recorder = useRef<MediaRecorder | null>(null);
  const [seconds, setSeconds] = useState<number | null>(null);
  const isRecording = seconds !== null;

  useEffect(() => {
    if (!isRecording) return;
    const timer = setInterval(() => setSeconds((before) => (before === null ? null : before + 1)), 1000);
    return () => clearInterval(timer);
  }, [isRecording]);

  const start = () => {
    if (!stream) return;
    const parts: Blob[] = [];
    const media = new MediaRecorder(stream);
    media.ondataavailable = (event) => parts.push(event.data);
    media.onstop = () => {
      if (recorder.current === media) onFile(recordedFile(parts, media.mimeType, kind));
    };
    media.start();
    recorder.current = media;
    setSeconds(0);
  };
  const stop = () => {
    recorder.current?.stop();
    setSeconds(null);
  };
  // A dialog that is closed has no use for what was recorded.
  useEffect(() => () => void (recorder.current = null), []);
  return { seconds, start, stop };
}

function recordedFile(parts: Blob[], mimeType: string, kind: CaptureKind): File {
  const type = mimeType.split(";")[0] ?? "";
  const ending = type.endsWith("/mp4") ? (kind === "sound" ? "m4a" : "mp4") : type.split("/")[1];
  return new File(parts, `recording ${timeOfDay()}.${ending}`, { type });
}

async function pictureOf(video: HTMLVideoElement): Promise<File> {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File(blob ? [blob] : [], `picture ${timeOfDay()}.jpg`, { type: "image/jpeg" });
}

function timeOfDay(): string {
  return new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
}
