// @ts-check
/** The device check: picture, level, choice of devices, speaker; troubles with advice. */

import { DeviceError, lacking, listDevices, openDevices, stopStream } from "./devices.js";
import { byId, element, showStage } from "./dom.js";
import { onLanguage, setText, t } from "./i18n.js";
import { AUDIBLE_DBFS, FLOOR_DBFS, meterPosition, playTone, watchLevel } from "./sound.js";

/** @typedef {import("./devices.js").Choice} Choice */

/** @type {{camera: import("./i18n.js").Key, microphone: import("./i18n.js").Key}} */
const WITHOUT = { camera: "check.without-camera", microphone: "check.without-microphone" };

export class DeviceCheck {
  /** @param {(stream: MediaStream, choice: Choice) => void} onJoin takes the stream over */
  constructor(onJoin) {
    this.onJoin = onJoin;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {Choice} */
    this.choice = {};
    this.stopLevel = () => {};
    /** Counts openings, so that an older one that ends late is dropped. */
    this.attempt = 0;
    this.video = element("preview", HTMLVideoElement);
    this.cameras = element("cameras", HTMLSelectElement);
    this.microphones = element("microphones", HTMLSelectElement);
    this.joinButton = element("join", HTMLButtonElement);
    this.connect();
  }

  connect() {
    const chosen = () => void this.start({ camera: this.cameras.value, microphone: this.microphones.value });
    this.cameras.addEventListener("change", chosen);
    this.microphones.addEventListener("change", chosen);
    byId("retry").addEventListener("click", () => void this.start(this.choice));
    byId("copy-link").addEventListener("click", () => void copyLink());
    element("check-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.join();
    });
    const tone = element("tone", HTMLButtonElement);
    tone.addEventListener("click", async () => {
      tone.disabled = true;
      await playTone();
      tone.disabled = false;
    });
    navigator.mediaDevices?.addEventListener?.("devicechange", () => {
      if (document.body.dataset.at !== "check") return;
      if (this.stream === null || lacking(this.stream)) void this.start({});
      else void this.fillLists();
    });
    onLanguage(() => void (this.stream && this.fillLists()));
  }

  /**
   * Show the stage and open the devices.
   * @param {Choice} choice
   * @returns {Promise<MediaStream | null>} null when there is trouble, which is then shown
   */
  async start(choice) {
    const attempt = ++this.attempt;
    this.release();
    this.choice = choice;
    if (document.body.dataset.at !== "check") showStage("check");
    byId("asking").hidden = false;
    byId("trouble").hidden = byId("without").hidden = true;
    try {
      const stream = await openDevices(choice);
      if (attempt !== this.attempt) {
        stopStream(stream);
        return null;
      }
      this.show(stream);
      return stream;
    } catch (error) {
      if (attempt === this.attempt) this.showTrouble(error);
      return null;
    }
  }

  /**
   * The page was reloaded during the interview: go on without a press of the button.
   * @param {Choice} choice
   */
  async resume(choice) {
    if ((await this.start(choice)) !== null) this.join();
  }

  /** Hand the open devices to the interview. */
  join() {
    const stream = this.stream;
    if (stream === null) return;
    this.stream = null;
    this.release();
    this.onJoin(stream, this.choice);
  }

  /** @param {MediaStream} stream */
  show(stream) {
    this.stream = stream;
    this.video.srcObject = stream;
    byId("asking").hidden = true;
    this.joinButton.disabled = false;
    const [camera] = stream.getVideoTracks();
    const [microphone] = stream.getAudioTracks();
    const facing = camera?.getSettings().facingMode;
    this.choice = {
      camera: camera?.getSettings().deviceId,
      microphone: microphone?.getSettings().deviceId,
      facing: facing === "environment" ? "environment" : "user",
    };
    this.video.classList.toggle("mirrored", facing !== "environment");
    camera?.addEventListener("ended", () => this.stream === stream && void this.start({}));
    const without = lacking(stream);
    if (without !== null) setText(byId("without"), WITHOUT[without]);
    byId("without").hidden = without === null;
    if (microphone) this.watchLevel(stream);
    void this.fillLists();
  }

  /** @param {MediaStream} stream */
  watchLevel(stream) {
    const meter = byId("level");
    const fill = byId("level-fill");
    const hint = byId("level-hint");
    setText(hint, "check.say");
    let loudFor = 0;
    this.stopLevel = watchLevel(stream, (dbfs) => {
      fill.style.transform = `scaleX(${meterPosition(dbfs)})`;
      meter.setAttribute("aria-valuenow", String(Math.round(Math.max(dbfs, FLOOR_DBFS))));
      if (dbfs > AUDIBLE_DBFS && ++loudFor === 3) setText(hint, "check.heard");
    });
  }

  async fillLists() {
    const { cameras, microphones } = await listDevices();
    fill(this.cameras, cameras, this.choice.camera, (n) => t("check.camera-n", { n }));
    fill(this.microphones, microphones, this.choice.microphone, (n) => t("check.microphone-n", { n }));
  }

  /** @param {unknown} error */
  showTrouble(error) {
    console.warn(error);
    const trouble = error instanceof DeviceError ? error.trouble : "unknown";
    byId("asking").hidden = true;
    setText(byId("trouble-title"), `trouble.${trouble}.title`);
    setText(byId("trouble-text"), `trouble.${trouble}.text`);
    byId("copy-link").hidden = trouble !== "unsupported";
    byId("trouble").hidden = false;
  }

  release() {
    this.stopLevel();
    this.stopLevel = () => {};
    stopStream(this.stream);
    this.stream = null;
    this.video.srcObject = null;
    this.joinButton.disabled = this.cameras.disabled = this.microphones.disabled = true;
  }
}

/**
 * @param {HTMLSelectElement} select
 * @param {MediaDeviceInfo[]} devices
 * @param {string | undefined} chosen
 * @param {(n: number) => string} nameless for devices without a label
 */
function fill(select, devices, chosen, nameless) {
  const options = devices.map((device, index) => {
    const option = new Option(device.label || nameless(index + 1), device.deviceId);
    option.selected = device.deviceId === chosen;
    return option;
  });
  select.replaceChildren(...options);
  select.disabled = devices.length < 2;
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    setText(byId("copy-link"), "copied");
  } catch {
    window.prompt(t("check.copy-link"), location.href); // no clipboard here: copy it by hand
  }
}
