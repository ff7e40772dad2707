/**
 * The sim protocol between a client and its gate: messages, codec, frames, refusals, limits.
 *
 * Written by `sim codegen --lang typescript` from the definitions; do not edit. `docs/protocol.md`
 * says what the messages mean and in which order they go. No dependencies; ES2022.
 *
 * Each message is an interface and, under the same name, its type for `encode` and `decode`. Numbers
 * of 64 bits are `bigint`. Numbers of enums that this version does not know are kept.
 */

export const PROTOCOL_VERSION = 1;
/** The first bytes that a client sends. */
export const PREAMBLE: Uint8Array = Uint8Array.of(0x53, 0x49, 0x4d, 0x21, 0x43, 0x01, 0x00, 0x00);
/** Codecs that a gate speaks. */
export const CODECS_KNOWN: readonly number[] = [0, 1, 2];
export const HEADER_LEN = 12;
/** Set in `command` where a frame answers a request. */
export const ANSWER_BIT = 0x0080;
/** The body is a `Refusal`. */
export const FLAG_REFUSED = 0x0001;
/** The body is encrypted. */
export const FLAG_ENCRYPTED = 0x0002;
export const FLAGS_KNOWN = 0x0003;

export const ID_LEN_MAX = 64;
export const CONVERSATION_ID_LEN_MAX = 129;
export const PAYLOAD_LEN_MAX = 16384;
export const SIGNAL_LEN_MAX = 1024;
export const TOKEN_LEN_MAX = 2048;
export const TEXT_LEN_MAX = 256;
export const PAGE_ROWS_MAX = 200;
export const GROUP_MEMBERS_MAX = 1000;
export const CODECS_MAX = 8;
export const SUITES_MAX = 8;
export const KEY_SHARE_LEN = 32;
export const SIGNATURE_LEN = 64;
export const GATES_MAX = 16;
export const CLIENT_FRAME_LEN_MAX = 65536;
export const SERVER_FRAME_LEN_MAX = 524288;
export const CODED_GROWTH_MAX = 4;

// ---------------------------------------------------------------------------------------------
// Runtime: how the types of the protocol become bytes. Nothing below names a message.

/** Bytes or values that break the protocol's rules. `kind` is one of a few fixed words. */
export class ProtocolError extends Error {
  readonly kind: string;
  readonly what: string;

  constructor(kind: string, what: string, why = "") {
    super(`${kind}: ${what}${why === "" ? "" : `: ${why}`}`);
    this.kind = kind;
    this.what = what;
  }
}

/** A body that is refused: Missing, Trailing, TooLong, BadUtf8, BadValue, BadVarint, BadText. */
export class DecodeError extends ProtocolError {}

/** A value that may not be sent. */
export class EncodeError extends ProtocolError {}

/** A stream that stopped being one: BadMagic, BadHop, BadVersion, BadCodec, BadReserved, TooLong, UnknownFlags. */
export class FrameError extends ProtocolError {}

const UTF8_ENCODER = new TextEncoder();
// A byte order mark is a character like others.
const UTF8_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

type Refuse = (kind: string, what: string, why: string) => ProtocolError;
const undecodable: Refuse = (kind, what, why) => new DecodeError(kind, what, why);
// What is no text of JSON at all, although a parser takes it.
const unreadable: Refuse = (_kind, what, why) => new DecodeError("BadText", what, why);
const unencodable: Refuse = (kind, what, why) => new EncodeError(kind, what, why);

/** A cursor over one body that never looks behind its end. */
class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  take(length: number, what: string): Uint8Array {
    return this.data.subarray(this.skip(length, what), this.at);
  }

  /** Steps over `length` bytes; where they began. */
  private skip(length: number, what: string): number {
    if (length > this.data.length - this.at) throw new DecodeError("Missing", what);
    const start = this.at;
    this.at += length;
    return start;
  }

  u8(what: string): number {
    return this.view.getUint8(this.skip(1, what));
  }

  u16(what: string): number {
    return this.view.getUint16(this.skip(2, what));
  }

  u32(what: string): number {
    return this.view.getUint32(this.skip(4, what));
  }

  u64(what: string): bigint {
    return this.view.getBigUint64(this.skip(8, what));
  }

  flag(what: string): boolean {
    const value = this.u8(what);
    if (value > 1) throw new DecodeError("BadValue", what, "a flag is 0 or 1");
    return value === 1;
  }

  varint(what: string): number {
    let value = 0;
    for (let index = 0; index < 5; index++) {
      const byte = this.u8(what);
      // Five times seven bits are more than the bit operators have.
      value += (byte & 0x7f) * 2 ** (7 * index);
      if ((byte & 0x80) === 0) {
        // A last byte of zero behind others is the same number written longer.
        if ((byte === 0 && index > 0) || value > 0xffffffff) break;
        return value;
      }
    }
    throw new DecodeError("BadVarint", what);
  }

  /** A length or count, which meets its maximum before anything is done with it. */
  length(max: number, what: string): number {
    const length = this.varint(what);
    if (length > max) throw new DecodeError("TooLong", what, `${length} is over ${max}`);
    return length;
  }

  finish(what: string): void {
    const left = this.data.length - this.at;
    if (left !== 0) throw new DecodeError("Trailing", what, `${left} bytes are left`);
  }
}

/** Bytes that grow. */
class Writer {
  private data = new Uint8Array(256);
  private view = new DataView(this.data.buffer);
  private length = 0;

  /** Makes room for `length` bytes; where they begin. */
  private grow(length: number): number {
    const start = this.length;
    this.length += length;
    if (this.length > this.data.length) {
      const data = new Uint8Array(Math.max(this.length, 2 * this.data.length));
      data.set(this.data.subarray(0, start));
      this.data = data;
      this.view = new DataView(data.buffer);
    }
    return start;
  }

  u8(value: number): void {
    const at = this.grow(1);
    this.view.setUint8(at, value);
  }

  u16(value: number): void {
    const at = this.grow(2);
    this.view.setUint16(at, value);
  }

  u32(value: number): void {
    const at = this.grow(4);
    this.view.setUint32(at, value);
  }

  u64(value: bigint): void {
    const at = this.grow(8);
    this.view.setBigUint64(at, value);
  }

  bytes(bytes: Uint8Array): void {
    const at = this.grow(bytes.length);
    this.data.set(bytes, at);
  }

  varint(value: number): void {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.u8((rest & 0x7f) | 0x80);
    this.u8(rest);
  }

  run(bytes: Uint8Array, max: number, what: string): void {
    if (bytes.length > max) throw new EncodeError("TooLong", what, `${bytes.length} is over ${max}`);
    this.varint(bytes.length);
    this.bytes(bytes);
  }

  finish(): Uint8Array {
    return this.data.slice(0, this.length);
  }
}

function utf8(text: unknown, what: string, refuse: Refuse): Uint8Array {
  if (typeof text !== "string") throw refuse("BadValue", what, "not a text");
  // With the `u` flag only half a pair is such a character.
  if (/[\ud800-\udfff]/u.test(text)) throw refuse("BadUtf8", what, "half of a surrogate pair");
  return UTF8_ENCODER.encode(text);
}

/** What a field can be: how it is written to and read from bytes, and from a tree of JSON. */
abstract class FieldType<T> {
  abstract write(value: T, out: Writer, what: string): void;
  abstract read(reader: Reader, what: string): T;
  abstract toJson(value: T): unknown;
  abstract fromJson(json: unknown, what: string): T;
}

class BoolType extends FieldType<boolean> {
  write(value: boolean, out: Writer, what: string): void {
    if (typeof value !== "boolean") throw new EncodeError("BadValue", what, "not true or false");
    out.u8(value ? 1 : 0);
  }

  read(reader: Reader, what: string): boolean {
    return reader.flag(what);
  }

  toJson(value: boolean): unknown {
    return value;
  }

  fromJson(json: unknown, what: string): boolean {
    if (typeof json !== "boolean") throw new DecodeError("BadValue", what, "not true or false");
    return json;
  }
}

class UintType extends FieldType<number> {
  constructor(private readonly width: 1 | 2 | 4) {
    super();
  }

  write(value: number, out: Writer, what: string): void {
    if (!this.holds(value)) throw new EncodeError("BadValue", what, `not a number of ${8 * this.width} bits`);
    if (this.width === 1) out.u8(value);
    else if (this.width === 2) out.u16(value);
    else out.u32(value);
  }

  read(reader: Reader, what: string): number {
    if (this.width === 1) return reader.u8(what);
    return this.width === 2 ? reader.u16(what) : reader.u32(what);
  }

  toJson(value: number): unknown {
    return value;
  }

  fromJson(json: unknown, what: string): number {
    const value = typeof json === "string" && /^[0-9]+$/.test(json) ? Number(json) : json;
    if (typeof value !== "number") throw new DecodeError("BadValue", what, "not a number, or a string of digits");
    if (!this.holds(value)) throw new DecodeError("BadValue", what, "a number that its type does not hold");
    return value;
  }

  private holds(value: unknown): boolean {
    return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** (8 * this.width);
  }
}

class U64Type extends FieldType<bigint> {
  write(value: bigint, out: Writer, what: string): void {
    if (typeof value !== "bigint" || value < 0n || value >= 1n << 64n) {
      throw new EncodeError("BadValue", what, "not a bigint of 64 bits");
    }
    out.u64(value);
  }

  read(reader: Reader, what: string): bigint {
    return reader.u64(what);
  }

  toJson(value: bigint): unknown {
    // Many readers of JSON lose bits over 2^53, this language's own among them.
    return value.toString();
  }

  fromJson(json: unknown, what: string): bigint {
    const isDigits = typeof json === "string" && /^[0-9]+$/.test(json);
    if (!isDigits && !Number.isSafeInteger(json)) {
      throw new DecodeError("BadValue", what, "not a whole number under 2^53, or a string of digits");
    }
    const value = BigInt(json as string | number);
    if (value < 0n || value >= 1n << 64n) {
      throw new DecodeError("BadValue", what, "a number that its type does not hold");
    }
    return value;
  }
}

/** A number with names. A number that has none is kept as it is. */
class EnumType extends UintType {
  constructor(private readonly names: Readonly<Record<string, number>>, width: 1 | 2) {
    super(width);
  }

  override toJson(value: number): unknown {
    return nameOf(this.names, value) ?? value;
  }

  override fromJson(json: unknown, what: string): number {
    if (typeof json === "string" && Object.hasOwn(this.names, json)) return this.names[json]!;
    return super.fromJson(json, what);
  }
}

/** The name of a number, if it has one. */
export function nameOf(names: Readonly<Record<string, number>>, value: number): string | undefined {
  return Object.keys(names).find((name) => names[name] === value);
}

class TextType extends FieldType<string> {
  constructor(private readonly max: number) {
    super();
  }

  write(value: string, out: Writer, what: string): void {
    const bytes = utf8(value, what, unencodable);
    this.check(value, what, unencodable);
    out.run(bytes, this.max, what);
  }

  read(reader: Reader, what: string): string {
    const bytes = reader.take(reader.length(this.max, what), what);
    let text: string;
    try {
      text = UTF8_DECODER.decode(bytes);
    } catch {
      throw new DecodeError("BadUtf8", what);
    }
    this.check(text, what, undecodable);
    return text;
  }

  toJson(value: string): unknown {
    return value;
  }

  fromJson(json: unknown, what: string): string {
    if (typeof json !== "string") throw new DecodeError("BadValue", what, "not a string");
    const length = utf8(json, what, unreadable).length;
    if (length > this.max) throw new DecodeError("TooLong", what, `${length} is over ${this.max}`);
    this.check(json, what, undecodable);
    return json;
  }

  /** The rules beside the length. */
  protected check(_text: string, _what: string, _refuse: Refuse): void {}
}

/** A text with rules of its own; `pair` allows two of them with a colon between. */
class IdType extends TextType {
  constructor(max: number, private readonly pair: boolean) {
    super(max);
  }

  protected override check(text: string, what: string, refuse: Refuse): void {
    const colon = this.pair ? text.indexOf(":") : -1;
    const parts = colon < 0 ? [text] : [text.slice(0, colon), text.slice(colon + 1)];
    for (const part of parts) {
      if (part === "") throw refuse("BadValue", what, "an id has at least one character");
      if (utf8(part, what, refuse).length > ID_LEN_MAX) {
        throw refuse(this.pair ? "BadValue" : "TooLong", what, `an id has at most ${ID_LEN_MAX} bytes`);
      }
      if (part.includes(":")) throw refuse("BadValue", what, "an id has no ':'");
      // eslint-disable-next-line no-control-regex
      if (/[\u0000-\u001f\u007f-\u009f]/.test(part)) {
        throw refuse("BadValue", what, "an id has no control characters");
      }
    }
    const [a, b] = parts;
    if (b !== undefined && compareBytes(UTF8_ENCODER.encode(a), UTF8_ENCODER.encode(b)) > 0) {
      throw refuse("BadValue", what, "the smaller user id comes first");
    }
  }
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    if (a[at] !== b[at]) return a[at]! - b[at]!;
  }
  return a.length - b.length;
}

class BytesType extends FieldType<Uint8Array> {
  constructor(private readonly max: number) {
    super();
  }

  write(value: Uint8Array, out: Writer, what: string): void {
    if (!(value instanceof Uint8Array)) throw new EncodeError("BadValue", what, "not bytes");
    out.run(value, this.max, what);
  }

  read(reader: Reader, what: string): Uint8Array {
    return reader.take(reader.length(this.max, what), what);
  }

  toJson(value: Uint8Array): unknown {
    const base64 = btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join(""));
    let text: string;
    try {
      text = UTF8_DECODER.decode(value);
    } catch {
      return { base64 };
    }
    // Whichever spelling is shorter.
    let length = value.length;
    for (const byte of value) {
      if (byte === 0x22 || byte === 0x5c || (byte >= 8 && byte <= 13 && byte !== 11)) length += 1;
      else if (byte < 0x20) length += 5;
    }
    return length <= base64.length + 11 ? text : { base64 };
  }

  fromJson(json: unknown, what: string): Uint8Array {
    const bytes = typeof json === "string" ? utf8(json, what, unreadable) : fromBase64(json, what);
    if (bytes.length > this.max) throw new DecodeError("TooLong", what, `${bytes.length} is over ${this.max}`);
    return bytes;
  }
}

function fromBase64(json: unknown, what: string): Uint8Array {
  if (!isObject(json) || Object.keys(json).length !== 1 || typeof json["base64"] !== "string") {
    throw new DecodeError("BadValue", what, 'not a string or {"base64":"…"}');
  }
  try {
    const bytes = atob(json["base64"]);
    // One spelling: no blanks, no missing padding or loose bits at the end.
    if (btoa(bytes) !== json["base64"]) throw new Error("another spelling");
    return Uint8Array.from(bytes, (char) => char.charCodeAt(0));
  } catch {
    throw new DecodeError("BadValue", what, "not base64");
  }
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

class ListType<T> extends FieldType<T[]> {
  constructor(private readonly of: FieldType<T>, private readonly max: number) {
    super();
  }

  write(value: T[], out: Writer, what: string): void {
    if (!Array.isArray(value)) throw new EncodeError("BadValue", what, "not a list");
    if (value.length > this.max) throw new EncodeError("TooLong", what, `${value.length} is over ${this.max}`);
    out.varint(value.length);
    for (const item of value) this.of.write(item, out, what);
  }

  read(reader: Reader, what: string): T[] {
    const items: T[] = [];
    for (let left = reader.length(this.max, what); left > 0; left--) items.push(this.of.read(reader, what));
    return items;
  }

  toJson(value: T[]): unknown {
    return value.map((item) => this.of.toJson(item));
  }

  fromJson(json: unknown, what: string): T[] {
    if (!Array.isArray(json)) throw new DecodeError("BadValue", what, "not a list");
    if (json.length > this.max) throw new DecodeError("TooLong", what, `${json.length} is over ${this.max}`);
    return json.map((item) => this.of.fromJson(item, what));
  }
}

class OptionType<T> extends FieldType<T | null> {
  constructor(private readonly of: FieldType<T>) {
    super();
  }

  write(value: T | null | undefined, out: Writer, what: string): void {
    const is = value !== null && value !== undefined;
    out.u8(is ? 1 : 0);
    if (is) this.of.write(value, out, what);
  }

  read(reader: Reader, what: string): T | null {
    return reader.flag(what) ? this.of.read(reader, what) : null;
  }

  toJson(value: T | null): unknown {
    return value === null ? null : this.of.toJson(value);
  }

  fromJson(json: unknown, what: string): T | null {
    return json === null || json === undefined ? null : this.of.fromJson(json, what);
  }
}

interface Field {
  readonly name: string;
  /** `Struct.field`, as errors name it. */
  readonly path: string;
  readonly type: FieldType<any>;
  /** The protocol version that brought it. */
  readonly since: number;
  /** What stands for it where a peer does not know it. */
  readonly fallback: () => unknown;
}

/** Fields in order, then the tail: a count of appended fields, each with its length in front. */
export class StructType<T> extends FieldType<T> {
  private readonly base: readonly Field[];
  private readonly appended: readonly Field[];

  constructor(readonly name: string, private readonly sealed: boolean, private readonly fields: readonly Field[]) {
    super();
    this.base = fields.filter((field) => field.since === 1);
    this.appended = fields.filter((field) => field.since > 1);
  }

  write(value: T, out: Writer, what: string): void {
    if (!isObject(value)) throw new EncodeError("BadValue", what, `not a ${this.name}`);
    for (const field of this.base) field.type.write(value[field.name], out, field.path);
    if (this.sealed) return;
    out.u8(this.appended.length);
    for (const field of this.appended) {
      const inner = new Writer();
      field.type.write(value[field.name], inner, field.path);
      const bytes = inner.finish();
      out.run(bytes, bytes.length, field.path);
    }
  }

  read(reader: Reader, _what: string): T {
    const value: Record<string, unknown> = {};
    for (const field of this.base) value[field.name] = field.type.read(reader, field.path);
    if (!this.sealed) this.readTail(reader, value);
    return value as T;
  }

  private readTail(reader: Reader, value: Record<string, unknown>): void {
    const count = reader.u8(this.name);
    this.appended.forEach((field, index) => {
      if (index >= count) {
        value[field.name] = field.fallback();
        return;
      }
      const inner = new Reader(reader.take(reader.varint(field.path), field.path));
      value[field.name] = field.type.read(inner, field.path);
      inner.finish(field.path);
    });
    for (let skipped = this.appended.length; skipped < count; skipped++) {
      // Appended by a later version than this file's.
      reader.take(reader.varint(this.name), this.name);
    }
  }

  toJson(value: T): unknown {
    const json: Record<string, unknown> = {};
    for (const field of this.fields) {
      const held = (value as Record<string, unknown>)[field.name];
      if (held !== null && held !== undefined) json[field.name] = field.type.toJson(held);
    }
    return json;
  }

  fromJson(json: unknown, what: string): T {
    if (!isObject(json)) throw new DecodeError("BadValue", what, "not an object");
    const value: Record<string, unknown> = {};
    for (const field of this.fields) {
      if (Object.hasOwn(json, field.name)) {
        value[field.name] = field.type.fromJson(json[field.name], field.path);
      } else if (field.type instanceof OptionType) {
        value[field.name] = null;
      } else if (field.since > 1) {
        value[field.name] = field.fallback();
      } else {
        throw new DecodeError("Missing", field.path);
      }
    }
    return value as T;
  }
}

interface Choice {
  readonly name: string;
  readonly number: number;
  readonly type: FieldType<any>;
}

/** One byte that says which, then that: an object with the one key that says which. */
class UnionType<T extends object> extends FieldType<T> {
  constructor(private readonly name: string, private readonly choices: readonly Choice[]) {
    super();
  }

  write(value: T, out: Writer, what: string): void {
    const chosen = this.chosen(value);
    if (chosen === undefined) throw new EncodeError("BadValue", what, `not a ${this.name}`);
    out.u8(chosen.number);
    chosen.type.write((value as Record<string, unknown>)[chosen.name], out, this.name);
  }

  read(reader: Reader, _what: string): T {
    const number = reader.u8(this.name);
    const chosen = this.choices.find((choice) => choice.number === number);
    if (chosen === undefined) throw new DecodeError("BadValue", this.name, "none of its choices");
    return { [chosen.name]: chosen.type.read(reader, this.name) } as T;
  }

  toJson(value: T): unknown {
    const chosen = this.chosen(value);
    if (chosen === undefined) throw new EncodeError("BadValue", this.name, `not a ${this.name}`);
    return { [chosen.name]: chosen.type.toJson((value as Record<string, unknown>)[chosen.name]) };
  }

  fromJson(json: unknown, what: string): T {
    const chosen = this.chosen(json);
    if (chosen === undefined) {
      throw new DecodeError("BadValue", what, "not an object with the one key that says which");
    }
    const held = (json as Record<string, unknown>)[chosen.name];
    return { [chosen.name]: chosen.type.fromJson(held, this.name) } as T;
  }

  /** The one choice whose key stands there; other keys are passed over. */
  private chosen(value: unknown): Choice | undefined {
    if (!isObject(value)) return undefined;
    const known = this.choices.filter((choice) => Object.hasOwn(value, choice.name));
    return known.length === 1 ? known[0] : undefined;
  }
}

/** The body of a message in the binary codec. */
export function encode<T>(type: StructType<T>, value: T): Uint8Array {
  const out = new Writer();
  type.write(value, out, type.name);
  return out.finish();
}

/** Reads a whole body in the binary codec; it must end where the message ends. */
export function decode<T>(type: StructType<T>, body: Uint8Array): T {
  const reader = new Reader(body);
  const value = type.read(reader, type.name);
  reader.finish(type.name);
  return value;
}

/** The body of a message in the JSON codec. */
export function encodeJson<T>(type: StructType<T>, value: T): Uint8Array {
  encode(type, value); // The rules are the same.
  return UTF8_ENCODER.encode(JSON.stringify(type.toJson(value)));
}

/**
 * Reads a whole body in the JSON codec. `JSON.parse` reads it: of a key that stands twice the last
 * counts, `1.0` and `1e0` are taken for 1, and a number of 64 bits over 2^53 is taken as a string only,
 * as gates write it.
 */
export function decodeJson<T>(type: StructType<T>, body: Uint8Array): T {
  let json: unknown;
  try {
    json = JSON.parse(UTF8_DECODER.decode(body));
  } catch (error) {
    throw new DecodeError("BadText", type.name, String(error));
  }
  return type.fromJson(json, type.name);
}

/** The fixed header in front of every body. */
export interface Header {
  length: number;
  command: number;
  flags: number;
  sequence: number;
}

/** One whole frame, its body not decoded yet. */
export interface Frame {
  command: number;
  flags: number;
  sequence: number;
  body: Uint8Array;
}

/** Checks a client's first bytes, as a gate does; the version that they name. */
export function decodePreamble(bytes: Uint8Array): number {
  if (bytes.length !== PREAMBLE.length) throw new FrameError("Missing", "preamble");
  const differs = (from: number, to: number): boolean => compareBytes(bytes.subarray(from, to), PREAMBLE.subarray(from, to)) !== 0;
  if (differs(0, 4)) throw new FrameError("BadMagic", "preamble");
  if (differs(4, 5)) throw new FrameError("BadHop", "preamble");
  if (differs(5, 6)) throw new FrameError("BadVersion", "preamble");
  if (differs(7, 8)) throw new FrameError("BadReserved", "preamble");
  if (!CODECS_KNOWN.includes(bytes[6]!)) throw new FrameError("BadCodec", "preamble");
  return bytes[5]!;
}

/** Reads a header and checks its length before anyone reserves it. */
export function decodeHeader(bytes: Uint8Array, lengthMax: number): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0);
  if (length > lengthMax) throw new FrameError("TooLong", "frame", `${length} bytes are over ${lengthMax}`);
  const flags = view.getUint16(6);
  if ((flags & ~FLAGS_KNOWN) !== 0) throw new FrameError("UnknownFlags", "frame", flags.toString(16));
  return { length, command: view.getUint16(4), flags, sequence: view.getUint32(8) };
}

/** Header and body. */
export function encodeFrame(command: number, sequence: number, body: Uint8Array, flags = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_LEN + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  view.setUint16(4, command);
  view.setUint16(6, flags);
  view.setUint32(8, sequence);
  bytes.set(body, HEADER_LEN);
  return bytes;
}

/** Cuts a stream of bytes into frames. After an error the stream has no next frame. */
export class Deframer {
  private buffer: Uint8Array = new Uint8Array(0);

  /** `lengthMax` may change between two frames. */
  constructor(public lengthMax: number) {}

  /**
   * Takes what came and hands out the frames that are whole now, and then the error that stands behind
   * them. Frames that are not asked for stay.
   */
  feed(bytes: Uint8Array): IterableIterator<Frame> {
    const buffer = new Uint8Array(this.buffer.length + bytes.length);
    buffer.set(this.buffer);
    buffer.set(bytes, this.buffer.length);
    this.buffer = buffer;
    return this.frames();
  }

  private *frames(): IterableIterator<Frame> {
    while (this.buffer.length >= HEADER_LEN) {
      const { length, command, flags, sequence } = decodeHeader(this.buffer.subarray(0, HEADER_LEN), this.lengthMax);
      const end = HEADER_LEN + length;
      if (this.buffer.length < end) return;
      const body = this.buffer.slice(HEADER_LEN, end);
      this.buffer = this.buffer.subarray(end);
      yield { command, flags, sequence, body };
    }
  }
}

// ---------------------------------------------------------------------------------------------
// Types, each behind what it is made of.

const BOOL = new BoolType();
const U8 = new UintType(1);
const U16 = new UintType(2);
const U32 = new UintType(4);
const U64 = new U64Type();

/** Which codec a client chose in its handshake. Every codec carries the same messages. */
export const CodecId = {
  /** The compact binary layout. */
  Binary: 0,
  /** JSON text, for debugging and scripts. */
  Json: 1,
  /** Protocol buffers. */
  Protobuf: 2,
} as const;
export type CodecId = number;
const CodecIdType = new EnumType(CodecId, 1);

/** How bodies are encrypted inside TLS. */
export const Encryption = {
  /** They are not; TLS is enough. */
  None: 0,
  /** X25519, HKDF-SHA256, ChaCha20-Poly1305. */
  ChaCha20Poly1305: 1,
  /** X25519, HKDF-SHA256, AES-128-GCM. */
  Aes128Gcm: 2,
} as const;
export type Encryption = number;
const EncryptionType = new EnumType(Encryption, 1);

/** The client's first frame: what it is and what it can do. */
export interface HandShake {
  /** Which application this is; free text for logs. */
  app_id: string;
  /** The client library and its version; free text for logs. */
  sdk: string;
  /** Codecs that the client speaks, the one it likes best first. */
  codecs: CodecId[];
  /** Body encryptions that the client accepts, the one it likes best first; empty asks for none. */
  suites: Encryption[];
  /** The client's ephemeral X25519 public key where it asks for encryption, else empty. */
  key_share: Uint8Array;
}
export const HandShake: StructType<HandShake> = new StructType<HandShake>("HandShake", false, [
  { name: "app_id", path: "HandShake.app_id", type: new TextType(256), since: 1, fallback: () => "" },
  { name: "sdk", path: "HandShake.sdk", type: new TextType(256), since: 1, fallback: () => "" },
  { name: "codecs", path: "HandShake.codecs", type: new ListType(CodecIdType, 8), since: 1, fallback: () => [] },
  { name: "suites", path: "HandShake.suites", type: new ListType(EncryptionType, 8), since: 1, fallback: () => [] },
  { name: "key_share", path: "HandShake.key_share", type: new BytesType(32), since: 1, fallback: () => new Uint8Array(0) },
]);

/** What the gate made of it. */
export interface HandShakeAck {
  /**
   * The gate's Ed25519 signature where bodies will be encrypted, else empty. It covers everything
   * that was said so far and the whole of this body behind this field, which is why it stands
   * first.
   */
  signature: Uint8Array;
  /** The gate's protocol version. */
  version: number;
  /** The codec of every frame after this one. */
  codec: CodecId;
  /** The body encryption of every frame after this one. */
  encryption: Encryption;
  /** Bytes of body that a frame from the client may have, an authentication tag included. */
  frame_len_max: number;
  /** The gate's ephemeral X25519 public key where bodies will be encrypted, else empty. */
  key_share: Uint8Array;
}
export const HandShakeAck: StructType<HandShakeAck> = new StructType<HandShakeAck>("HandShakeAck", false, [
  { name: "signature", path: "HandShakeAck.signature", type: new BytesType(64), since: 1, fallback: () => new Uint8Array(0) },
  { name: "version", path: "HandShakeAck.version", type: U8, since: 1, fallback: () => 0 },
  { name: "codec", path: "HandShakeAck.codec", type: CodecIdType, since: 1, fallback: () => 0 },
  { name: "encryption", path: "HandShakeAck.encryption", type: EncryptionType, since: 1, fallback: () => 0 },
  { name: "frame_len_max", path: "HandShakeAck.frame_len_max", type: U32, since: 1, fallback: () => 0 },
  { name: "key_share", path: "HandShakeAck.key_share", type: new BytesType(32), since: 1, fallback: () => new Uint8Array(0) },
]);

/**
 * One installation of a client. A user has one sync position per device. The rules: 1 to 64 bytes
 * of UTF-8 without ':' and without control characters (U+0000 to U+001F, U+007F to U+009F).
 */
export type DeviceId = string;
const DeviceIdType = new IdType(64, false);

/** The kind of a device. */
export const Platform = {
  /** A program without a person at it. */
  Bot: 0,
  /** A computer. */
  Desktop: 1,
  /** A telephone or tablet. */
  Mobile: 2,
  /** A browser. */
  Web: 3,
} as const;
export type Platform = number;
const PlatformType = new EnumType(Platform, 1);

/** Log in. */
export interface Auth {
  /** The access token that `POST /user/login` gave. */
  token: string;
  /** This installation. A second login of the same device replaces the first. */
  device: DeviceId;
  /** Its kind. */
  platform: Platform;
}
export const Auth: StructType<Auth> = new StructType<Auth>("Auth", false, [
  { name: "token", path: "Auth.token", type: new TextType(2048), since: 1, fallback: () => "" },
  { name: "device", path: "Auth.device", type: DeviceIdType, since: 1, fallback: () => null },
  { name: "platform", path: "Auth.platform", type: PlatformType, since: 1, fallback: () => 0 },
]);

/**
 * A person or a program that sends and receives. The rules: 1 to 64 bytes of UTF-8 without ':' and
 * without control characters (U+0000 to U+001F, U+007F to U+009F).
 */
export type UserId = string;
const UserIdType = new IdType(64, false);

/** One login. Unique within the gate's BootId, so the two together fence a late goodbye. */
export type SessionId = bigint;

/** Logged in. */
export interface AuthAck {
  /** Who the token says this is. */
  user: UserId;
  /** This login. */
  session: SessionId;
  /** Milliseconds between heartbeats that the client should keep. */
  heartbeat_ms: number;
  /** Milliseconds of silence after which the gate closes. */
  keep_alive_ms: number;
  /** The server's clock, milliseconds since 1970. */
  server_time_ms: bigint;
}
export const AuthAck: StructType<AuthAck> = new StructType<AuthAck>("AuthAck", false, [
  { name: "user", path: "AuthAck.user", type: UserIdType, since: 1, fallback: () => null },
  { name: "session", path: "AuthAck.session", type: U64, since: 1, fallback: () => 0n },
  { name: "heartbeat_ms", path: "AuthAck.heartbeat_ms", type: U32, since: 1, fallback: () => 0 },
  { name: "keep_alive_ms", path: "AuthAck.keep_alive_ms", type: U32, since: 1, fallback: () => 0 },
  { name: "server_time_ms", path: "AuthAck.server_time_ms", type: U64, since: 1, fallback: () => 0n },
]);

/** A body without fields. */
export interface Empty {
}
export const Empty: StructType<Empty> = new StructType<Empty>("Empty", false, [
]);

/**
 * Which life of a store a position belongs to. A store restored from an older state gets a new one;
 * 0 says that the client has no position yet.
 */
export type Epoch = bigint;

/** A place in one timeline. The first is 1; 0 stands before the first. */
export type Seq = bigint;

/** How far a user's timeline has been read, or reaches. */
export interface Position {
  /** The store's life. */
  epoch: Epoch;
  /** The place within it. */
  seq: Seq;
}
export const Position: StructType<Position> = new StructType<Position>("Position", true, [
  { name: "epoch", path: "Position.epoch", type: U64, since: 1, fallback: () => 0n },
  { name: "seq", path: "Position.seq", type: U64, since: 1, fallback: () => 0n },
]);

/** The answer to a heartbeat. */
export interface HeartBeatAck {
  /** The head of the user's timeline; `None` when it could not be had in time. */
  head: Position | null;
  /** The server's clock, milliseconds since 1970. */
  server_time_ms: bigint;
}
export const HeartBeatAck: StructType<HeartBeatAck> = new StructType<HeartBeatAck>("HeartBeatAck", false, [
  { name: "head", path: "HeartBeatAck.head", type: new OptionType(Position), since: 1, fallback: () => null },
  { name: "server_time_ms", path: "HeartBeatAck.server_time_ms", type: U64, since: 1, fallback: () => 0n },
]);

/**
 * A group; also the id of its conversation. The rules: 1 to 64 bytes of UTF-8 without ':' and
 * without control characters (U+0000 to U+001F, U+007F to U+009F).
 */
export type GroupId = string;
const GroupIdType = new IdType(64, false);

/** To whom a message goes: one byte (1 a user, 2 a group), then the id. */
export type Target = { user: UserId } | { group: GroupId };
const TargetType = new UnionType<Target>("Target", [
  { name: "user", number: 1, type: UserIdType },
  { name: "group", number: 2, type: GroupIdType },
]);

/**
 * Chosen by the sender, once per message; with the sender's id it makes a send idempotent. The
 * rules: 1 to 64 bytes of UTF-8 without ':' and without control characters (U+0000 to U+001F,
 * U+007F to U+009F).
 */
export type ClientMsgId = string;
const ClientMsgIdType = new IdType(64, false);

/** What a message's payload is. The server never looks into it. */
export const ContentType = {
  /** UTF-8 text. */
  Text: 1,
  /** A picture. */
  Image: 2,
  /** Sound. */
  Audio: 3,
  /** A film. */
  Video: 4,
  /** A place on earth. */
  Position: 5,
  /** A file. */
  File: 6,
  /** A sticker or emotion. */
  Sticker: 7,
  /** A link with a snapshot of what it leads to. */
  Link: 8,
  /** A JSON object, as sent by the HTTP interface. */
  Json: 9,
  /** Written by the server: a member came or went. */
  System: 10,
} as const;
export type ContentType = number;
const ContentTypeType = new EnumType(ContentType, 2);

/** Send a message. */
export interface SendMsg {
  /** To whom. Stands first: a route reads it to keep a conversation with one im-service. */
  to: Target;
  /** The sender's own name for this message; the same name means the same message. */
  client_msg_id: ClientMsgId;
  /** What the payload is. */
  content_type: ContentType;
  /** The payload. */
  payload: Uint8Array;
}
export const SendMsg: StructType<SendMsg> = new StructType<SendMsg>("SendMsg", false, [
  { name: "to", path: "SendMsg.to", type: TargetType, since: 1, fallback: () => null },
  { name: "client_msg_id", path: "SendMsg.client_msg_id", type: ClientMsgIdType, since: 1, fallback: () => null },
  { name: "content_type", path: "SendMsg.content_type", type: ContentTypeType, since: 1, fallback: () => 0 },
  { name: "payload", path: "SendMsg.payload", type: new BytesType(16384), since: 1, fallback: () => new Uint8Array(0) },
]);

/**
 * A conversation: the two user ids with a ':' between them, or a group's id. Only the former has a
 * ':'. The rules: a group id; or two user ids with ':' between them, the smaller by bytes first.
 */
export type ConversationId = string;
const ConversationIdType = new IdType(129, true);

/** Stored, ordered, readable. */
export interface SendAck {
  /** The conversation. */
  conversation: ConversationId;
  /** The message's place in the conversation. */
  seq: Seq;
  /** Its place in the sender's own timeline. */
  position: Position;
  /** Its place in the receiver's timeline; 0 for a group. */
  receiver_seq: Seq;
  /** When the server took it, milliseconds since 1970. */
  time_ms: bigint;
  /** Whether the message was there already: an earlier try had arrived. */
  repeated: boolean;
}
export const SendAck: StructType<SendAck> = new StructType<SendAck>("SendAck", false, [
  { name: "conversation", path: "SendAck.conversation", type: ConversationIdType, since: 1, fallback: () => null },
  { name: "seq", path: "SendAck.seq", type: U64, since: 1, fallback: () => 0n },
  { name: "position", path: "SendAck.position", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
  { name: "receiver_seq", path: "SendAck.receiver_seq", type: U64, since: 1, fallback: () => 0n },
  { name: "time_ms", path: "SendAck.time_ms", type: U64, since: 1, fallback: () => 0n },
  { name: "repeated", path: "SendAck.repeated", type: BOOL, since: 1, fallback: () => false },
]);

/** A message in its conversation. */
export interface Message {
  /** The conversation. */
  conversation: ConversationId;
  /** The place in the conversation. */
  seq: Seq;
  /** Who sent it. */
  sender: UserId;
  /** The sender's own name for it. */
  client_msg_id: ClientMsgId;
  /** When the server took it, milliseconds since 1970. */
  time_ms: bigint;
  /** What the payload is. */
  content_type: ContentType;
  /** The payload. */
  payload: Uint8Array;
}
export const Message: StructType<Message> = new StructType<Message>("Message", false, [
  { name: "conversation", path: "Message.conversation", type: ConversationIdType, since: 1, fallback: () => null },
  { name: "seq", path: "Message.seq", type: U64, since: 1, fallback: () => 0n },
  { name: "sender", path: "Message.sender", type: UserIdType, since: 1, fallback: () => null },
  { name: "client_msg_id", path: "Message.client_msg_id", type: ClientMsgIdType, since: 1, fallback: () => null },
  { name: "time_ms", path: "Message.time_ms", type: U64, since: 1, fallback: () => 0n },
  { name: "content_type", path: "Message.content_type", type: ContentTypeType, since: 1, fallback: () => 0 },
  { name: "payload", path: "Message.payload", type: new BytesType(16384), since: 1, fallback: () => new Uint8Array(0) },
]);

/**
 * ← The user's timeline has grown. A hint: it may be lost, and the next heartbeat tells the same.
 */
export interface NewMsg {
  /** The head of the timeline, as far as the sender of this knows. */
  head: Position;
  /** The entry at `head`, so that a client that stands right before it needs no pull. */
  entry: Message | null;
  /** Milliseconds to wait before a pull, so that a burst in a large group is no stampede. */
  query_after_ms: number;
}
export const NewMsg: StructType<NewMsg> = new StructType<NewMsg>("NewMsg", false, [
  { name: "head", path: "NewMsg.head", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
  { name: "entry", path: "NewMsg.entry", type: new OptionType(Message), since: 1, fallback: () => null },
  { name: "query_after_ms", path: "NewMsg.query_after_ms", type: U32, since: 1, fallback: () => 0 },
]);

/** Pull what is behind a position. Everything up to it counts as fetched by this device. */
export interface GetMsg {
  /** The last position that the client has; the default when it has none. */
  after: Position;
  /** Rows wanted at most; 0 leaves it to the server. */
  limit: number;
}
export const GetMsg: StructType<GetMsg> = new StructType<GetMsg>("GetMsg", false, [
  { name: "after", path: "GetMsg.after", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
  { name: "limit", path: "GetMsg.limit", type: U16, since: 1, fallback: () => 0 },
]);

/** A message in a user's timeline. */
export interface Entry {
  /** The place in the user's timeline. */
  seq: Seq;
  /** The message. */
  message: Message;
}
export const Entry: StructType<Entry> = new StructType<Entry>("Entry", false, [
  { name: "seq", path: "Entry.seq", type: U64, since: 1, fallback: () => 0n },
  { name: "message", path: "Entry.message", type: Message, since: 1, fallback: () => ({ conversation: null, seq: 0n, sender: null, client_msg_id: null, time_ms: 0n, content_type: 0, payload: new Uint8Array(0) }) },
]);

/** The rows behind a position, ascending and without a gap. */
export interface MsgPage {
  /**
   * The head of the timeline. Another epoch than the one asked with says that the store was
   * restored: the page then is empty and the client starts again from this epoch's beginning.
   */
  head: Position;
  /** The greatest place that was trimmed; rows up to it are no longer here. */
  floor: Seq;
  /** The rows. */
  entries: Entry[];
  /** Whether there was more than fits. */
  has_more: boolean;
}
export const MsgPage: StructType<MsgPage> = new StructType<MsgPage>("MsgPage", false, [
  { name: "head", path: "MsgPage.head", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
  { name: "floor", path: "MsgPage.floor", type: U64, since: 1, fallback: () => 0n },
  { name: "entries", path: "MsgPage.entries", type: new ListType(Entry, 200), since: 1, fallback: () => [] },
  { name: "has_more", path: "MsgPage.has_more", type: BOOL, since: 1, fallback: () => false },
]);

/** Everything in the conversation up to `seq` has been read. */
export interface ReadMsg {
  /** The conversation. */
  conversation: ConversationId;
  /** The place in the conversation. */
  seq: Seq;
}
export const ReadMsg: StructType<ReadMsg> = new StructType<ReadMsg>("ReadMsg", false, [
  { name: "conversation", path: "ReadMsg.conversation", type: ConversationIdType, since: 1, fallback: () => null },
  { name: "seq", path: "ReadMsg.seq", type: U64, since: 1, fallback: () => 0n },
]);

/** ← Somebody has read: the peer, or this user on another device. */
export interface RevReadMsg {
  /** The conversation. */
  conversation: ConversationId;
  /** Who has read. */
  reader: UserId;
  /** Up to where. */
  seq: Seq;
}
export const RevReadMsg: StructType<RevReadMsg> = new StructType<RevReadMsg>("RevReadMsg", false, [
  { name: "conversation", path: "RevReadMsg.conversation", type: ConversationIdType, since: 1, fallback: () => null },
  { name: "reader", path: "RevReadMsg.reader", type: UserIdType, since: 1, fallback: () => null },
  { name: "seq", path: "RevReadMsg.seq", type: U64, since: 1, fallback: () => 0n },
]);

/** Why a connection is ended by the server. */
export const KickReason = {
  /**
   * A later login took this one's place: of the same device, or of one more than may be logged in.
   */
  LoggedInElsewhere: 1,
  /** The account may not log in any more. */
  Forbidden: 2,
  /** The password changed or the login was revoked. */
  Revoked: 3,
  /** The connection did not take what was sent to it. */
  SlowConsumer: 4,
  /** Nothing was heard for the keep-alive time. */
  Idle: 5,
} as const;
export type KickReason = number;
const KickReasonType = new EnumType(KickReason, 1);

/** ← The gate ends this connection. */
export interface Kickout {
  /** Why. */
  reason: KickReason;
  /** For a person. */
  detail: string;
}
export const Kickout: StructType<Kickout> = new StructType<Kickout>("Kickout", false, [
  { name: "reason", path: "Kickout.reason", type: KickReasonType, since: 1, fallback: () => 0 },
  { name: "detail", path: "Kickout.detail", type: new TextType(256), since: 1, fallback: () => "" },
]);

/** `host:port`. */
export interface Address {
  /** `host:port`. */
  text: string;
}
export const Address: StructType<Address> = new StructType<Address>("Address", true, [
  { name: "text", path: "Address.text", type: new TextType(256), since: 1, fallback: () => "" },
]);

/** ← Connect again, elsewhere where addresses are given. */
export interface Redirect {
  /** Addresses to try, `host:port`; empty for "the ones you know". */
  gates: Address[];
  /** Milliseconds to wait before, so that not everybody comes at once. */
  after_ms: number;
}
export const Redirect: StructType<Redirect> = new StructType<Redirect>("Redirect", false, [
  { name: "gates", path: "Redirect.gates", type: new ListType(Address, 16), since: 1, fallback: () => [] },
  { name: "after_ms", path: "Redirect.after_ms", type: U32, since: 1, fallback: () => 0 },
]);

/** Which way a history is read. */
export const Direction = {
  /** Ascending: places greater than `from`. */
  Forward: 0,
  /** Descending: places smaller than `from`; 0 stands for "from the newest". */
  Backward: 1,
} as const;
export type Direction = number;
const DirectionType = new EnumType(Direction, 1);

/** Read a conversation's history. */
export interface GetHistory {
  /** The conversation; the asker must be part of it. */
  conversation: ConversationId;
  /** Where to start; not included. */
  from: Seq;
  /** Which way. */
  direction: Direction;
  /** Rows wanted at most; 0 leaves it to the server. */
  limit: number;
}
export const GetHistory: StructType<GetHistory> = new StructType<GetHistory>("GetHistory", false, [
  { name: "conversation", path: "GetHistory.conversation", type: ConversationIdType, since: 1, fallback: () => null },
  { name: "from", path: "GetHistory.from", type: U64, since: 1, fallback: () => 0n },
  { name: "direction", path: "GetHistory.direction", type: DirectionType, since: 1, fallback: () => 0 },
  { name: "limit", path: "GetHistory.limit", type: U16, since: 1, fallback: () => 0 },
]);

/** A page of a history, in the order that was asked for. */
export interface HistoryPage {
  /** The conversation's greatest place. */
  head: Seq;
  /** The rows. */
  messages: Message[];
  /** Whether there is more behind the last row. */
  has_more: boolean;
}
export const HistoryPage: StructType<HistoryPage> = new StructType<HistoryPage>("HistoryPage", false, [
  { name: "head", path: "HistoryPage.head", type: U64, since: 1, fallback: () => 0n },
  { name: "messages", path: "HistoryPage.messages", type: new ListType(Message, 200), since: 1, fallback: () => [] },
  { name: "has_more", path: "HistoryPage.has_more", type: BOOL, since: 1, fallback: () => false },
]);

/** What an online-only signal says. */
export const SignalKind = {
  /** The user is writing. */
  Typing: 1,
  /** Whatever the application makes of the payload. */
  Custom: 2,
} as const;
export type SignalKind = number;
const SignalKindType = new EnumType(SignalKind, 2);

/** Tell those who are online; nothing is stored. */
export interface Signal {
  /** To whom. */
  to: Target;
  /** What. */
  kind: SignalKind;
  /** The application's own. */
  payload: Uint8Array;
}
export const Signal: StructType<Signal> = new StructType<Signal>("Signal", false, [
  { name: "to", path: "Signal.to", type: TargetType, since: 1, fallback: () => null },
  { name: "kind", path: "Signal.kind", type: SignalKindType, since: 1, fallback: () => 0 },
  { name: "payload", path: "Signal.payload", type: new BytesType(1024), since: 1, fallback: () => new Uint8Array(0) },
]);

/** ← Somebody who is online tells something. */
export interface RevSignal {
  /** In which conversation. */
  conversation: ConversationId;
  /** Who. */
  sender: UserId;
  /** What. */
  kind: SignalKind;
  /** The application's own. */
  payload: Uint8Array;
}
export const RevSignal: StructType<RevSignal> = new StructType<RevSignal>("RevSignal", false, [
  { name: "conversation", path: "RevSignal.conversation", type: ConversationIdType, since: 1, fallback: () => null },
  { name: "sender", path: "RevSignal.sender", type: UserIdType, since: 1, fallback: () => null },
  { name: "kind", path: "RevSignal.kind", type: SignalKindType, since: 1, fallback: () => 0 },
  { name: "payload", path: "RevSignal.payload", type: new BytesType(1024), since: 1, fallback: () => new Uint8Array(0) },
]);

/** List the user's conversations, in the order of their ids. */
export interface ListConversations {
  /** The last id of the page before; `None` for the first page. */
  after: ConversationId | null;
  /** Rows wanted at most; 0 leaves it to the server. */
  limit: number;
}
export const ListConversations: StructType<ListConversations> = new StructType<ListConversations>("ListConversations", false, [
  { name: "after", path: "ListConversations.after", type: new OptionType(ConversationIdType), since: 1, fallback: () => null },
  { name: "limit", path: "ListConversations.limit", type: U16, since: 1, fallback: () => 0 },
]);

/** One conversation as its member sees it. */
export interface ConversationSummary {
  /** The conversation. */
  conversation: ConversationId;
  /** The group's name; empty for two users. */
  name: string;
  /** Its greatest place. */
  head: Seq;
  /** Up to where this user has read. */
  read_seq: Seq;
  /** Messages of others behind `read_seq`. */
  unread: bigint;
  /** The newest message, if there is any. */
  last: Message | null;
}
export const ConversationSummary: StructType<ConversationSummary> = new StructType<ConversationSummary>("ConversationSummary", false, [
  { name: "conversation", path: "ConversationSummary.conversation", type: ConversationIdType, since: 1, fallback: () => null },
  { name: "name", path: "ConversationSummary.name", type: new TextType(256), since: 1, fallback: () => "" },
  { name: "head", path: "ConversationSummary.head", type: U64, since: 1, fallback: () => 0n },
  { name: "read_seq", path: "ConversationSummary.read_seq", type: U64, since: 1, fallback: () => 0n },
  { name: "unread", path: "ConversationSummary.unread", type: U64, since: 1, fallback: () => 0n },
  { name: "last", path: "ConversationSummary.last", type: new OptionType(Message), since: 1, fallback: () => null },
]);

/** A page of conversations. */
export interface ConversationPage {
  /** The rows. */
  conversations: ConversationSummary[];
  /** Whether there is more behind the last row. */
  has_more: boolean;
}
export const ConversationPage: StructType<ConversationPage> = new StructType<ConversationPage>("ConversationPage", false, [
  { name: "conversations", path: "ConversationPage.conversations", type: new ListType(ConversationSummary, 200), since: 1, fallback: () => [] },
  { name: "has_more", path: "ConversationPage.has_more", type: BOOL, since: 1, fallback: () => false },
]);

/**
 * Make a group. The maker becomes its owner and a member. Idempotent: the same group made again by
 * the same owner with the same name answers with what is there.
 */
export interface CreateGroup {
  /** The group's id. */
  group: GroupId;
  /** Its name for people. */
  name: string;
  /** Further members. */
  members: UserId[];
}
export const CreateGroup: StructType<CreateGroup> = new StructType<CreateGroup>("CreateGroup", false, [
  { name: "group", path: "CreateGroup.group", type: GroupIdType, since: 1, fallback: () => null },
  { name: "name", path: "CreateGroup.name", type: new TextType(256), since: 1, fallback: () => "" },
  { name: "members", path: "CreateGroup.members", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
]);

/** A group. */
export interface Group {
  /** Its id. */
  group: GroupId;
  /** Its name for people. */
  name: string;
  /** Who made it. */
  owner: UserId;
  /** Who belongs to it, the owner included, in the order of their ids. */
  members: UserId[];
}
export const Group: StructType<Group> = new StructType<Group>("Group", false, [
  { name: "group", path: "Group.group", type: GroupIdType, since: 1, fallback: () => null },
  { name: "name", path: "Group.name", type: new TextType(256), since: 1, fallback: () => "" },
  { name: "owner", path: "Group.owner", type: UserIdType, since: 1, fallback: () => null },
  { name: "members", path: "Group.members", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
]);

/**
 * Change who belongs to a group. The owner may add and remove; a member may add, and may remove
 * itself.
 */
export interface ChangeMembers {
  /** The group. */
  group: GroupId;
  /** Users to add; those who are members stay. */
  add: UserId[];
  /** Users to remove; those who are none are passed over. */
  remove: UserId[];
}
export const ChangeMembers: StructType<ChangeMembers> = new StructType<ChangeMembers>("ChangeMembers", false, [
  { name: "group", path: "ChangeMembers.group", type: GroupIdType, since: 1, fallback: () => null },
  { name: "add", path: "ChangeMembers.add", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
  { name: "remove", path: "ChangeMembers.remove", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
]);

/** List the groups that the user belongs to, in the order of their ids. */
export interface ListGroups {
  /** The last id of the page before; `None` for the first page. */
  after: GroupId | null;
  /** Rows wanted at most; 0 leaves it to the server. */
  limit: number;
}
export const ListGroups: StructType<ListGroups> = new StructType<ListGroups>("ListGroups", false, [
  { name: "after", path: "ListGroups.after", type: new OptionType(GroupIdType), since: 1, fallback: () => null },
  { name: "limit", path: "ListGroups.limit", type: U16, since: 1, fallback: () => 0 },
]);

/** A page of groups. */
export interface GroupPage {
  /** The rows. */
  groups: Group[];
  /** Whether there is more behind the last row. */
  has_more: boolean;
}
export const GroupPage: StructType<GroupPage> = new StructType<GroupPage>("GroupPage", false, [
  { name: "groups", path: "GroupPage.groups", type: new ListType(Group, 200), since: 1, fallback: () => [] },
  { name: "has_more", path: "GroupPage.has_more", type: BOOL, since: 1, fallback: () => false },
]);

/** Why a request or a connection was refused. */
export const RefusalCode = {
  /** the first bytes are not this protocol's */
  BadMagic: 100,
  /** this protocol version is not spoken here */
  BadVersion: 101,
  /** a frame that breaks the framing rules */
  BadFrame: 102,
  /** a frame over the maximum length */
  FrameTooLong: 103,
  /** a body that does not decode */
  BadBody: 104,
  /** a command that is not known here */
  UnknownCommand: 105,
  /** a command that does not belong at this step */
  OutOfOrder: 106,
  /** none of the offered codecs is spoken here */
  NoCodec: 107,
  /** encrypted bodies are not offered here */
  NoEncryption: 108,
  /** only encrypted bodies are taken here */
  EncryptionRequired: 109,
  /** none of the offered body encryptions is spoken here */
  NoSuite: 110,
  /** a key share that no key can be agreed with */
  BadKeyShare: 111,
  /** a frame that does not open with the agreed keys */
  NotAuthentic: 112,
  /** the token is malformed, or signed by no known key */
  BadToken: 200,
  /** the token has expired */
  ExpiredToken: 201,
  /** a command that needs a login first */
  NotLoggedIn: 202,
  /** the step took longer than it may */
  TooSlow: 203,
  /** this device logged in on another connection */
  LoggedInElsewhere: 204,
  /** this account is banned */
  Banned: 205,
  /** an id that is empty, too long, or has a forbidden character */
  BadId: 300,
  /** a payload or list over its maximum */
  TooLarge: 301,
  /** the same message id was sent before with other content */
  IdReused: 302,
  /** there is no such group */
  NoSuchGroup: 303,
  /** only members may do this */
  NotAMember: 304,
  /** the role does not allow this */
  NotAllowed: 305,
  /** there is no such conversation */
  NoSuchConversation: 306,
  /** a group of that id exists */
  GroupExists: 307,
  /** a position beyond the head of the timeline */
  BadPosition: 308,
  /** there is no such user */
  NoSuchUser: 309,
  /** too many requests */
  RateLimited: 400,
  /** too many connections */
  TooManyConnections: 401,
  /** the server has no room for the request right now */
  Busy: 500,
  /** a part of the server cannot be reached */
  Unavailable: 501,
  /** no answer in time; the request may or may not have happened */
  DeadlineExceeded: 502,
  /** this server is going away */
  Draining: 503,
  /** the server failed; its log says why */
  Internal: 504,
} as const;
export type RefusalCode = number;
const RefusalCodeType = new EnumType(RefusalCode, 2);

/** A refusal with what the peer may want to know beside the code. */
export interface Refusal {
  /** Which row of the table. */
  code: RefusalCode;
  /** For a person; never parsed. */
  detail: string;
  /** Milliseconds to wait before a retry; 0 leaves it to the peer. */
  retry_after_ms: number;
}
export const Refusal: StructType<Refusal> = new StructType<Refusal>("Refusal", false, [
  { name: "code", path: "Refusal.code", type: RefusalCodeType, since: 1, fallback: () => 0 },
  { name: "detail", path: "Refusal.detail", type: new TextType(256), since: 1, fallback: () => "" },
  { name: "retry_after_ms", path: "Refusal.retry_after_ms", type: U32, since: 1, fallback: () => 0 },
]);

/** What a frame between a client and its gate is. Those marked ← come from the server unasked. */
export const Command = {
  /** HandShake → HandShakeAck; the first frame, in the codec that the preamble names. */
  HandShake: 1,
  /** Auth → AuthAck; the second. */
  Auth: 2,
  /** Empty → Empty; the login ends, and the gate closes. */
  Logout: 3,
  /** Empty → HeartBeatAck; the client is there, and asks how far its timeline reaches. */
  HeartBeat: 4,
  /** SendMsg → SendAck; idempotent by sender and `client_msg_id`. */
  SendMsg: 5,
  /** ← NewMsg. */
  NewMsg: 6,
  /** GetMsg → MsgPage. */
  GetMsg: 7,
  /** ReadMsg → Empty. */
  ReadMsg: 8,
  /** ← RevReadMsg. */
  RevReadMsg: 9,
  /** ← Kickout; then the gate closes. */
  Kickout: 10,
  /** ← Redirect. */
  Redirect: 11,
  /** GetHistory → HistoryPage. */
  GetHistory: 12,
  /** Signal → Empty. */
  Signal: 13,
  /** ← RevSignal. */
  RevSignal: 14,
  /** ListConversations → ConversationPage. */
  ListConversations: 15,
  /** CreateGroup → Group. */
  CreateGroup: 16,
  /** ChangeMembers → Group. */
  ChangeMembers: 17,
  /** ListGroups → GroupPage. */
  ListGroups: 18,
} as const;
export type Command = number;

/** A command: who begins, and the bodies of its frames. */
export interface CommandInfo {
  name: string;
  number: number;
  from: "client" | "gate";
  request: StructType<any>;
  answer: StructType<any> | null;
}

/** Every command. */
export const COMMANDS: readonly CommandInfo[] = [
  { name: "HandShake", number: 0x01, from: "client", request: HandShake, answer: HandShakeAck },
  { name: "Auth", number: 0x02, from: "client", request: Auth, answer: AuthAck },
  { name: "Logout", number: 0x03, from: "client", request: Empty, answer: Empty },
  { name: "HeartBeat", number: 0x04, from: "client", request: Empty, answer: HeartBeatAck },
  { name: "SendMsg", number: 0x05, from: "client", request: SendMsg, answer: SendAck },
  { name: "NewMsg", number: 0x06, from: "gate", request: NewMsg, answer: null },
  { name: "GetMsg", number: 0x07, from: "client", request: GetMsg, answer: MsgPage },
  { name: "ReadMsg", number: 0x08, from: "client", request: ReadMsg, answer: Empty },
  { name: "RevReadMsg", number: 0x09, from: "gate", request: RevReadMsg, answer: null },
  { name: "Kickout", number: 0x0a, from: "gate", request: Kickout, answer: null },
  { name: "Redirect", number: 0x0b, from: "gate", request: Redirect, answer: null },
  { name: "GetHistory", number: 0x0c, from: "client", request: GetHistory, answer: HistoryPage },
  { name: "Signal", number: 0x0d, from: "client", request: Signal, answer: Empty },
  { name: "RevSignal", number: 0x0e, from: "gate", request: RevSignal, answer: null },
  { name: "ListConversations", number: 0x0f, from: "client", request: ListConversations, answer: ConversationPage },
  { name: "CreateGroup", number: 0x10, from: "client", request: CreateGroup, answer: Group },
  { name: "ChangeMembers", number: 0x11, from: "client", request: ChangeMembers, answer: Group },
  { name: "ListGroups", number: 0x12, from: "client", request: ListGroups, answer: GroupPage },
];

/** Every body by its name. */
export const BODIES: Readonly<Record<string, StructType<any>>> = {
  HandShake,
  HandShakeAck,
  Auth,
  AuthAck,
  Empty,
  HeartBeatAck,
  SendMsg,
  SendAck,
  NewMsg,
  GetMsg,
  MsgPage,
  ReadMsg,
  RevReadMsg,
  Kickout,
  Redirect,
  GetHistory,
  HistoryPage,
  Signal,
  RevSignal,
  ListConversations,
  ConversationPage,
  CreateGroup,
  Group,
  ChangeMembers,
  ListGroups,
  GroupPage,
  Refusal,
};

/** Whether asking again may help. */
export type Retry = "Never" | "Later" | "AfterLogin" | "Reconnect";

/** A row of the table of refusals. */
export interface RefusalInfo {
  name: string;
  number: number;
  sentence: string;
  retry: Retry;
}

/** Every refusal. */
export const REFUSALS: readonly RefusalInfo[] = [
  { name: "BadMagic", number: 100, sentence: "the first bytes are not this protocol's", retry: "Never" },
  { name: "BadVersion", number: 101, sentence: "this protocol version is not spoken here", retry: "Never" },
  { name: "BadFrame", number: 102, sentence: "a frame that breaks the framing rules", retry: "Never" },
  { name: "FrameTooLong", number: 103, sentence: "a frame over the maximum length", retry: "Never" },
  { name: "BadBody", number: 104, sentence: "a body that does not decode", retry: "Never" },
  { name: "UnknownCommand", number: 105, sentence: "a command that is not known here", retry: "Never" },
  { name: "OutOfOrder", number: 106, sentence: "a command that does not belong at this step", retry: "Never" },
  { name: "NoCodec", number: 107, sentence: "none of the offered codecs is spoken here", retry: "Never" },
  { name: "NoEncryption", number: 108, sentence: "encrypted bodies are not offered here", retry: "Never" },
  { name: "EncryptionRequired", number: 109, sentence: "only encrypted bodies are taken here", retry: "Never" },
  { name: "NoSuite", number: 110, sentence: "none of the offered body encryptions is spoken here", retry: "Never" },
  { name: "BadKeyShare", number: 111, sentence: "a key share that no key can be agreed with", retry: "Never" },
  { name: "NotAuthentic", number: 112, sentence: "a frame that does not open with the agreed keys", retry: "Reconnect" },
  { name: "BadToken", number: 200, sentence: "the token is malformed, or signed by no known key", retry: "AfterLogin" },
  { name: "ExpiredToken", number: 201, sentence: "the token has expired", retry: "AfterLogin" },
  { name: "NotLoggedIn", number: 202, sentence: "a command that needs a login first", retry: "AfterLogin" },
  { name: "TooSlow", number: 203, sentence: "the step took longer than it may", retry: "Reconnect" },
  { name: "LoggedInElsewhere", number: 204, sentence: "this device logged in on another connection", retry: "Never" },
  { name: "Banned", number: 205, sentence: "this account is banned", retry: "Never" },
  { name: "BadId", number: 300, sentence: "an id that is empty, too long, or has a forbidden character", retry: "Never" },
  { name: "TooLarge", number: 301, sentence: "a payload or list over its maximum", retry: "Never" },
  { name: "IdReused", number: 302, sentence: "the same message id was sent before with other content", retry: "Never" },
  { name: "NoSuchGroup", number: 303, sentence: "there is no such group", retry: "Never" },
  { name: "NotAMember", number: 304, sentence: "only members may do this", retry: "Never" },
  { name: "NotAllowed", number: 305, sentence: "the role does not allow this", retry: "Never" },
  { name: "NoSuchConversation", number: 306, sentence: "there is no such conversation", retry: "Never" },
  { name: "GroupExists", number: 307, sentence: "a group of that id exists", retry: "Never" },
  { name: "BadPosition", number: 308, sentence: "a position beyond the head of the timeline", retry: "Never" },
  { name: "NoSuchUser", number: 309, sentence: "there is no such user", retry: "Never" },
  { name: "RateLimited", number: 400, sentence: "too many requests", retry: "Later" },
  { name: "TooManyConnections", number: 401, sentence: "too many connections", retry: "Later" },
  { name: "Busy", number: 500, sentence: "the server has no room for the request right now", retry: "Later" },
  { name: "Unavailable", number: 501, sentence: "a part of the server cannot be reached", retry: "Later" },
  { name: "DeadlineExceeded", number: 502, sentence: "no answer in time; the request may or may not have happened", retry: "Later" },
  { name: "Draining", number: 503, sentence: "this server is going away", retry: "Reconnect" },
  { name: "Internal", number: 504, sentence: "the server failed; its log says why", retry: "Later" },
];

/** Whether asking again may help; a code that is not known is judged by its number. */
export function retryOf(code: RefusalCode): Retry {
  const known = REFUSALS.find((refusal) => refusal.number === code);
  return known?.retry ?? (code >= 500 ? "Later" : "Never");
}
