// A clip to play, drawn and recorded by the browser itself: no media file in the repository, no encoder to install.
import { Buffer } from "node:buffer";

/**
 * Records `seconds` of moving noise: about 2 Mbit/s, so that a player can't hold all of it in its first read.
 * Returns a WebM file with its duration and a seek index, which Chromium adds when a recording is stopped.
 */
export async function recordClip(page, seconds) {
  const base64 = await page.evaluate(async (seconds) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
    const context = canvas.getContext("2d");
    const draw = () => {
      for (let i = 0; i < 400; i++) {
        context.fillStyle = `hsl(${Math.random() * 360} 80% 50%)`;
        context.fillRect(Math.random() * 320, Math.random() * 180, 24, 24);
      }
    };
    const drawing = setInterval(draw, 40);
    const recorder = new MediaRecorder(canvas.captureStream(25), {
      mimeType: "video/webm;codecs=vp8", videoBitsPerSecond: 2_000_000, videoKeyFrameIntervalDuration: 500 });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.start();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    recorder.stop();
    await stopped;
    clearInterval(drawing);
    const reader = new FileReader();
    const read = new Promise((resolve) => { reader.onload = resolve; });
    reader.readAsDataURL(new Blob(parts));
    await read;
    return reader.result.split(",")[1];
  }, seconds);
  return Buffer.from(base64, "base64");
}
