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
