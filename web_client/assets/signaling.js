// @ts-check
/** The signalling WebSocket: says hello, keeps itself alive, comes back by itself. */

import { Connection } from "./connection.js";
import { PROTOCOL_VERSION, isFinal, parseMessage } from "./protocol.js";

/** @typedef {import("./protocol.js").ServerMessage} ServerMessage */
/** @typedef {import("./protocol.js").ClientMessage} ClientMessage */
/** @typedef {import("./protocol.js").ErrorMessage} ErrorMessage */

const PING_INTERVAL_MS = 4000;
/** Without any message for this long the connection counts as lost. */
const SILENCE_LIMIT_MS = 10_000;
/** A socket that is doubted has so long to answer, or so many of its round trips. */
const DOUBT_LIMIT_MS = 1000;
const DOUBT_ROUND_TRIPS = 4;

/**
 * @typedef {object} Handlers
 * @property {(message: ServerMessage) => void} onMessage every message but `pong` and `answer`
 * @property {(state: import("./connection.js").State) => void} onState
 * @property {(error: ErrorMessage) => void} onRefused the link does not work (any more)
 */

export class Signaling {
  /**
   * @param {string} token
   * @param {string | null} [interview] which one, for an owner's link
   */
  constructor(token, interview = null) {
    this.token = token;
    this.interview = interview;
    /** @type {string | null} which opening of a candidate's link this is */
    this.opening = null;
    /** @type {Handlers | null} */
    this.handlers = null;
    /** @type {((handlers: Handlers) => void)[]} what there was to tell before anybody listened */
    this.untold = [];
    /** @type {Partial<Record<import("./protocol.js").Connection, (sdp: string) => void>>} */
    this.onAnswer = {};
    /** A socket is being opened. */
    this.onOpening = () => {};
    /** @type {ClientMessage[]} what follows `hello` */
    this.withHello = [];
    this.connection = new Connection();
    /** Server clock minus ours, in seconds. */
    this.clockOffsetS = 0;
    /** @type {RTCIceServer[]} relays that this link may use, with fresh credentials */
    this.iceServers = [];
    /** Of the socket that there is: the relays are known. */
    this.isWelcome = false;
    /** @type {(() => void)[]} */
    this.waiting = [];
    /** @type {WebSocket | null} */
    this.socket = null;
    this.timer = 0;
    this.doubtTimer = 0;
    this.openedMs = 0;
    this.pings = 0;
    this.pingedMs = 0;
    this.heardMs = 0;
    /** Of the last ping. */
    this.roundTripMs = 0;
    this.networkChanged = this.networkChanged.bind(this);
  }

  /**
   * Say from now on what happens, and what has happened already.
   * @param {Handlers} handlers
   */
  listen(handlers) {
    this.handlers = handlers;
    for (const tell of this.untold.splice(0)) tell(handlers);
  }

  /** @param {(handlers: Handlers) => void} tell */
  tell(tell) {
    if (this.handlers) tell(this.handlers);
    else this.untold.push(tell);
  }

  get online() {
    return this.connection.state === "online";
  }

  start() {
    window.addEventListener("online", this.networkChanged);
    networkInformation()?.addEventListener("change", this.networkChanged);
    this.move("start");
  }

  /** Close for good; `start` opens again. */
  stop() {
    window.removeEventListener("online", this.networkChanged);
    networkInformation()?.removeEventListener("change", this.networkChanged);
    this.move("stop");
  }

  /** The server's clock, in Unix seconds. */
  serverNowS() {
    return Date.now() / 1000 + this.clockOffsetS;
  }

  /**
   * @param {ClientMessage} message
   * @returns {boolean} false when there is no connection to send it on
   */
  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Like `send`, without waiting for `welcome`, nor for the socket that is being opened.
   * @param {ClientMessage} message
   * @returns {boolean} false when there is no connection to send it on
   */
  sendWithHello(message) {
    if (this.connection.state !== "connecting") return this.send(message);
    this.withHello.push(message);
    return true;
  }

  /**
   * Once `welcome` has come on this socket, or on the next: before it is told to anybody else, who
   * may show a page that takes long to lay out.
   * @param {() => void} act
   */
  onceWelcome(act) {
    if (this.isWelcome) act();
    else this.waiting.push(act);
  }

  /** Give up this socket and open another. */
  reconnect() {
    this.move("lost");
  }

  /** The same without a pause: it is the network's fault, not the server's. */
  reconnectNow() {
    this.move("lost");
    this.move("retry");
  }

  networkChanged() {
    const isNew = performance.now() - this.openedMs < DOUBT_LIMIT_MS; // browsers tell it thrice
    if (this.online) this.doubt();
    else if (this.connection.state === "waiting" || !isNew) this.reconnectNow();
  }

  /**
   * The network may have become another one, from which this socket reaches nobody: browsers notice
   * that after minutes. It has to answer, or is given up.
   */
  doubt() {
    if (!this.online || this.doubtTimer !== 0) return;
    const limitMs = Math.max(DOUBT_LIMIT_MS, DOUBT_ROUND_TRIPS * this.roundTripMs);
    this.ping();
    this.doubtTimer = window.setTimeout(() => {
      this.doubtTimer = 0;
      if (this.heardMs < this.pingedMs) this.reconnectNow();
    }, limitMs);
  }

  /** @param {import("./connection.js").Event} event */
  move(event) {
    if (!this.connection.on(event)) return;
    window.clearTimeout(this.timer);
    switch (this.connection.state) {
      case "connecting":
        this.open();
        break;
      case "greeting":
        this.send({
          type: "hello",
          version: PROTOCOL_VERSION,
          token: this.token,
          interview: this.interview,
          opening: this.opening,
        });
        for (const message of this.withHello.splice(0)) this.send(message);
        break;
      case "online":
        this.keepAlive();
        break;
      case "waiting":
        this.drop();
        this.timer = window.setTimeout(() => this.move("retry"), this.connection.delayMs(Math.random()));
        break;
      case "stopped":
        this.drop();
        break;
    }
    const { state } = this.connection;
    this.tell((handlers) => handlers.onState(state));
  }

  open() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket = socket;
    this.openedMs = performance.now();
    /** @param {() => void} act */
    const ifCurrent = (act) => () => {
      if (this.socket === socket) act();
    };
    socket.onopen = ifCurrent(() => this.move("open"));
    socket.onclose = ifCurrent(() => this.move("lost"));
    socket.onmessage = (event) => {
      if (this.socket === socket) this.receive(String(event.data));
    };
    this.timer = window.setTimeout(() => this.move("lost"), SILENCE_LIMIT_MS);
    this.withHello = [];
    this.isWelcome = false;
    this.onOpening();
  }

  drop() {
    window.clearTimeout(this.doubtTimer);
    this.doubtTimer = 0;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  /** @param {string} text */
  receive(text) {
    this.heardMs = performance.now();
    const message = parseMessage(text);
    if (message === null) return;
    if (message.type === "pong" || message.type === "welcome") {
      this.clockOffsetS = message.server_time_s - Date.now() / 1000;
    }
    if (message.type === "pong") {
      if (message.id === this.pings) this.roundTripMs = this.heardMs - this.pingedMs;
      return;
    }
    if (message.type === "answer") {
      this.onAnswer[message.connection]?.(message.sdp);
      return;
    }
    if (message.type === "welcome") {
      this.iceServers = message.ice_servers;
      this.isWelcome = true;
      for (const act of this.waiting.splice(0)) act();
      this.move("welcome");
    }
    if (message.type === "error" && isFinal(message.id)) {
      this.move("refused");
      this.tell((handlers) => handlers.onRefused(message));
      return;
    }
    this.tell((handlers) => handlers.onMessage(message));
  }

  keepAlive() {
    this.timer = window.setTimeout(() => {
      if (performance.now() - this.heardMs > SILENCE_LIMIT_MS) {
        this.move("lost");
        return;
      }
      this.ping();
      this.keepAlive();
    }, PING_INTERVAL_MS);
  }

  ping() {
    this.pingedMs = performance.now();
    this.send({ type: "ping", id: ++this.pings });
  }
}

/** @returns {EventTarget | undefined} where the browser tells what network it is in */
function networkInformation() {
  return /** @type {{connection?: EventTarget}} */ (navigator).connection;
}
