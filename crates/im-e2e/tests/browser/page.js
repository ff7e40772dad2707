// What a page needs beside the generated codec to speak to a gate, and a conversation with it. The outcome
// goes to whoever served this page.
import * as p from "/protocol.js";

const { gate, token, peer } = Object.fromEntries(new URLSearchParams(location.search));
const SUBPROTOCOL = "sim.v1";

/** A WebSocket that is open, with what it hears as frames. Rejects when it does not open. */
function open() {
  const socket = new WebSocket(gate, SUBPROTOCOL);
  socket.binaryType = "arraybuffer";
  const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
  const opened = new Promise((resolve) => socket.addEventListener("open", resolve));
  return Promise.race([
    opened.then(() => ({ socket, closed })),
    closed.then(({ code }) => Promise.reject(new Error(`closed with ${code} before it was open`))),
  ]);
}

/** A login on which requests are answered one after another. */
async function login() {
  const { socket, closed } = await open();
  const deframer = new p.Deframer(p.SERVER_FRAME_LEN_MAX);
  const heard = [];
  let notice = () => {};
  socket.addEventListener("message", ({ data }) => {
    heard.push(...deframer.feed(new Uint8Array(data)));
    notice();
  });
  /** The next frame with this command. */
  const next = async (command) => {
    for (;;) {
      const at = heard.findIndex((frame) => frame.command === command);
      if (at >= 0) return heard.splice(at, 1)[0];
      await new Promise((resolve) => (notice = resolve));
    }
  };
  let sequence = 0;
  const ask = async (command, request, answer, message) => {
    socket.send(p.encodeFrame(command, ++sequence, p.encode(request, message)));
    const { flags, body } = await next(command | p.ANSWER_BIT);
    if (flags & p.FLAG_REFUSED) throw new Error(`refused: ${p.decode(p.Refusal, body).detail}`);
    return p.decode(answer, body);
  };
  socket.send(p.PREAMBLE);
  const hello = { app_id: "page", sdk: "none", codecs: [p.CodecId.Binary], suites: [], key_share: new Uint8Array(0) };
  await ask(p.Command.HandShake, p.HandShake, p.HandShakeAck, hello);
  const auth = { token, device: "browser", platform: p.Platform.Web };
  const { user } = await ask(p.Command.Auth, p.Auth, p.AuthAck, auth);
  return { socket, closed, next, ask, user };
}

async function talk() {
  const { next, ask, closed, user } = await login();
  const ack = await ask(p.Command.SendMsg, p.SendMsg, p.SendAck, {
    to: { user: peer },
    client_msg_id: "from-a-page",
    content_type: p.ContentType.Text,
    payload: new TextEncoder().encode("a page says hello"),
  });
  let message = null;
  // The notify of the own message comes too, to other devices of the user and to this one.
  while (message === null || message.sender !== peer) {
    message = p.decode(p.NewMsg, (await next(p.Command.NewMsg)).body).entry;
  }
  await ask(p.Command.Logout, p.Empty, p.Empty, {});
  const { code, wasClean } = await closed;
  const heard = new TextDecoder().decode(message.payload);
  return { user, seq: String(ack.seq), heard, goodbye: code, wasClean };
}

/** The code with which the gate closes when this is sent. */
async function closeOf(message) {
  const { socket, closed } = await open();
  socket.send(message);
  return (await closed).code;
}

async function outcome() {
  const talked = await talk();
  const text = await closeOf("SIM!");
  const long = await closeOf(new Uint8Array(p.CLIENT_FRAME_LEN_MAX + p.HEADER_LEN + p.PREAMBLE.length + 1));
  return { ...talked, text, long };
}

const told = await outcome().catch((error) => ({ failed: String(error) }));
await fetch("/outcome", { method: "POST", body: JSON.stringify(told) });
