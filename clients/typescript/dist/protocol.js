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
export const PREAMBLE = Uint8Array.of(0x53, 0x49, 0x4d, 0x21, 0x43, 0x01, 0x00, 0x00);
/** Codecs that a gate speaks. */
export const CODECS_KNOWN = [0, 1, 2];
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
    kind;
    what;
    constructor(kind, what, why = "") {
        super(`${kind}: ${what}${why === "" ? "" : `: ${why}`}`);
        this.kind = kind;
        this.what = what;
    }
}
/** A body that is refused: Missing, Trailing, TooLong, BadUtf8, BadValue, BadVarint, BadText. */
export class DecodeError extends ProtocolError {
}
/** A value that may not be sent. */
export class EncodeError extends ProtocolError {
}
/** A stream that stopped being one: BadMagic, BadHop, BadVersion, BadCodec, BadReserved, TooLong, UnknownFlags. */
export class FrameError extends ProtocolError {
}
const UTF8_ENCODER = new TextEncoder();
// A byte order mark is a character like others.
const UTF8_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const undecodable = (kind, what, why) => new DecodeError(kind, what, why);
// What is no text of JSON at all, although a parser takes it.
const unreadable = (_kind, what, why) => new DecodeError("BadText", what, why);
const unencodable = (kind, what, why) => new EncodeError(kind, what, why);
/** A cursor over one body that never looks behind its end. */
class Reader {
    data;
    at = 0;
    view;
    constructor(data) {
        this.data = data;
        this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    }
    take(length, what) {
        return this.data.subarray(this.skip(length, what), this.at);
    }
    /** Steps over `length` bytes; where they began. */
    skip(length, what) {
        if (length > this.data.length - this.at)
            throw new DecodeError("Missing", what);
        const start = this.at;
        this.at += length;
        return start;
    }
    u8(what) {
        return this.view.getUint8(this.skip(1, what));
    }
    u16(what) {
        return this.view.getUint16(this.skip(2, what));
    }
    u32(what) {
        return this.view.getUint32(this.skip(4, what));
    }
    u64(what) {
        return this.view.getBigUint64(this.skip(8, what));
    }
    flag(what) {
        const value = this.u8(what);
        if (value > 1)
            throw new DecodeError("BadValue", what, "a flag is 0 or 1");
        return value === 1;
    }
    varint(what) {
        let value = 0;
        for (let index = 0; index < 5; index++) {
            const byte = this.u8(what);
            // Five times seven bits are more than the bit operators have.
            value += (byte & 0x7f) * 2 ** (7 * index);
            if ((byte & 0x80) === 0) {
                // A last byte of zero behind others is the same number written longer.
                if ((byte === 0 && index > 0) || value > 0xffffffff)
                    break;
                return value;
            }
        }
        throw new DecodeError("BadVarint", what);
    }
    /** A length or count, which meets its maximum before anything is done with it. */
    length(max, what) {
        const length = this.varint(what);
        if (length > max)
            throw new DecodeError("TooLong", what, `${length} is over ${max}`);
        return length;
    }
    finish(what) {
        const left = this.data.length - this.at;
        if (left !== 0)
            throw new DecodeError("Trailing", what, `${left} bytes are left`);
    }
}
/** Bytes that grow. */
class Writer {
    data = new Uint8Array(256);
    view = new DataView(this.data.buffer);
    length = 0;
    /** Makes room for `length` bytes; where they begin. */
    grow(length) {
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
    u8(value) {
        const at = this.grow(1);
        this.view.setUint8(at, value);
    }
    u16(value) {
        const at = this.grow(2);
        this.view.setUint16(at, value);
    }
    u32(value) {
        const at = this.grow(4);
        this.view.setUint32(at, value);
    }
    u64(value) {
        const at = this.grow(8);
        this.view.setBigUint64(at, value);
    }
    bytes(bytes) {
        const at = this.grow(bytes.length);
        this.data.set(bytes, at);
    }
    varint(value) {
        let rest = value;
        for (; rest >= 0x80; rest = Math.floor(rest / 0x80))
            this.u8((rest & 0x7f) | 0x80);
        this.u8(rest);
    }
    run(bytes, max, what) {
        if (bytes.length > max)
            throw new EncodeError("TooLong", what, `${bytes.length} is over ${max}`);
        this.varint(bytes.length);
        this.bytes(bytes);
    }
    finish() {
        return this.data.slice(0, this.length);
    }
}
function utf8(text, what, refuse) {
    if (typeof text !== "string")
        throw refuse("BadValue", what, "not a text");
    // With the `u` flag only half a pair is such a character.
    if (/[\ud800-\udfff]/u.test(text))
        throw refuse("BadUtf8", what, "half of a surrogate pair");
    return UTF8_ENCODER.encode(text);
}
/** What a field can be: how it is written to and read from bytes, and from a tree of JSON. */
class FieldType {
}
class BoolType extends FieldType {
    write(value, out, what) {
        if (typeof value !== "boolean")
            throw new EncodeError("BadValue", what, "not true or false");
        out.u8(value ? 1 : 0);
    }
    read(reader, what) {
        return reader.flag(what);
    }
    toJson(value) {
        return value;
    }
    fromJson(json, what) {
        if (typeof json !== "boolean")
            throw new DecodeError("BadValue", what, "not true or false");
        return json;
    }
}
class UintType extends FieldType {
    width;
    constructor(width) {
        super();
        this.width = width;
    }
    write(value, out, what) {
        if (!this.holds(value))
            throw new EncodeError("BadValue", what, `not a number of ${8 * this.width} bits`);
        if (this.width === 1)
            out.u8(value);
        else if (this.width === 2)
            out.u16(value);
        else
            out.u32(value);
    }
    read(reader, what) {
        if (this.width === 1)
            return reader.u8(what);
        return this.width === 2 ? reader.u16(what) : reader.u32(what);
    }
    toJson(value) {
        return value;
    }
    fromJson(json, what) {
        const value = typeof json === "string" && /^[0-9]+$/.test(json) ? Number(json) : json;
        if (typeof value !== "number")
            throw new DecodeError("BadValue", what, "not a number, or a string of digits");
        if (!this.holds(value))
            throw new DecodeError("BadValue", what, "a number that its type does not hold");
        return value;
    }
    holds(value) {
        return Number.isInteger(value) && value >= 0 && value < 2 ** (8 * this.width);
    }
}
class U64Type extends FieldType {
    write(value, out, what) {
        if (typeof value !== "bigint" || value < 0n || value >= 1n << 64n) {
            throw new EncodeError("BadValue", what, "not a bigint of 64 bits");
        }
        out.u64(value);
    }
    read(reader, what) {
        return reader.u64(what);
    }
    toJson(value) {
        // Many readers of JSON lose bits over 2^53, this language's own among them.
        return value.toString();
    }
    fromJson(json, what) {
        const isDigits = typeof json === "string" && /^[0-9]+$/.test(json);
        if (!isDigits && !Number.isSafeInteger(json)) {
            throw new DecodeError("BadValue", what, "not a whole number under 2^53, or a string of digits");
        }
        const value = BigInt(json);
        if (value < 0n || value >= 1n << 64n) {
            throw new DecodeError("BadValue", what, "a number that its type does not hold");
        }
        return value;
    }
}
/** A number with names. A number that has none is kept as it is. */
class EnumType extends UintType {
    names;
    constructor(names, width) {
        super(width);
        this.names = names;
    }
    toJson(value) {
        return nameOf(this.names, value) ?? value;
    }
    fromJson(json, what) {
        if (typeof json === "string" && Object.hasOwn(this.names, json))
            return this.names[json];
        return super.fromJson(json, what);
    }
}
/** The name of a number, if it has one. */
export function nameOf(names, value) {
    return Object.keys(names).find((name) => names[name] === value);
}
class TextType extends FieldType {
    max;
    constructor(max) {
        super();
        this.max = max;
    }
    write(value, out, what) {
        const bytes = utf8(value, what, unencodable);
        this.check(value, what, unencodable);
        out.run(bytes, this.max, what);
    }
    read(reader, what) {
        const bytes = reader.take(reader.length(this.max, what), what);
        let text;
        try {
            text = UTF8_DECODER.decode(bytes);
        }
        catch {
            throw new DecodeError("BadUtf8", what);
        }
        this.check(text, what, undecodable);
        return text;
    }
    toJson(value) {
        return value;
    }
    fromJson(json, what) {
        if (typeof json !== "string")
            throw new DecodeError("BadValue", what, "not a string");
        const length = utf8(json, what, unreadable).length;
        if (length > this.max)
            throw new DecodeError("TooLong", what, `${length} is over ${this.max}`);
        this.check(json, what, undecodable);
        return json;
    }
    /** The rules beside the length. */
    check(_text, _what, _refuse) { }
}
/** A text with rules of its own; `pair` allows two of them with a colon between. */
class IdType extends TextType {
    pair;
    constructor(max, pair) {
        super(max);
        this.pair = pair;
    }
    check(text, what, refuse) {
        const colon = this.pair ? text.indexOf(":") : -1;
        const parts = colon < 0 ? [text] : [text.slice(0, colon), text.slice(colon + 1)];
        for (const part of parts) {
            if (part === "")
                throw refuse("BadValue", what, "an id has at least one character");
            if (utf8(part, what, refuse).length > ID_LEN_MAX) {
                throw refuse(this.pair ? "BadValue" : "TooLong", what, `an id has at most ${ID_LEN_MAX} bytes`);
            }
            if (part.includes(":"))
                throw refuse("BadValue", what, "an id has no ':'");
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
function compareBytes(a, b) {
    for (let at = 0; at < Math.min(a.length, b.length); at++) {
        if (a[at] !== b[at])
            return a[at] - b[at];
    }
    return a.length - b.length;
}
class BytesType extends FieldType {
    max;
    constructor(max) {
        super();
        this.max = max;
    }
    write(value, out, what) {
        if (!(value instanceof Uint8Array))
            throw new EncodeError("BadValue", what, "not bytes");
        out.run(value, this.max, what);
    }
    read(reader, what) {
        return reader.take(reader.length(this.max, what), what);
    }
    toJson(value) {
        const base64 = btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join(""));
        let text;
        try {
            text = UTF8_DECODER.decode(value);
        }
        catch {
            return { base64 };
        }
        // Whichever spelling is shorter.
        let length = value.length;
        for (const byte of value) {
            if (byte === 0x22 || byte === 0x5c || (byte >= 8 && byte <= 13 && byte !== 11))
                length += 1;
            else if (byte < 0x20)
                length += 5;
        }
        return length <= base64.length + 11 ? text : { base64 };
    }
    fromJson(json, what) {
        const bytes = typeof json === "string" ? utf8(json, what, unreadable) : fromBase64(json, what);
        if (bytes.length > this.max)
            throw new DecodeError("TooLong", what, `${bytes.length} is over ${this.max}`);
        return bytes;
    }
}
function fromBase64(json, what) {
    if (!isObject(json) || Object.keys(json).length !== 1 || typeof json["base64"] !== "string") {
        throw new DecodeError("BadValue", what, 'not a string or {"base64":"…"}');
    }
    try {
        const bytes = atob(json["base64"]);
        // One spelling: no blanks, no missing padding or loose bits at the end.
        if (btoa(bytes) !== json["base64"])
            throw new Error("another spelling");
        return Uint8Array.from(bytes, (char) => char.charCodeAt(0));
    }
    catch {
        throw new DecodeError("BadValue", what, "not base64");
    }
}
function isObject(json) {
    return typeof json === "object" && json !== null && !Array.isArray(json);
}
class ListType extends FieldType {
    of;
    max;
    constructor(of, max) {
        super();
        this.of = of;
        this.max = max;
    }
    write(value, out, what) {
        if (!Array.isArray(value))
            throw new EncodeError("BadValue", what, "not a list");
        if (value.length > this.max)
            throw new EncodeError("TooLong", what, `${value.length} is over ${this.max}`);
        out.varint(value.length);
        for (const item of value)
            this.of.write(item, out, what);
    }
    read(reader, what) {
        const items = [];
        for (let left = reader.length(this.max, what); left > 0; left--)
            items.push(this.of.read(reader, what));
        return items;
    }
    toJson(value) {
        return value.map((item) => this.of.toJson(item));
    }
    fromJson(json, what) {
        if (!Array.isArray(json))
            throw new DecodeError("BadValue", what, "not a list");
        if (json.length > this.max)
            throw new DecodeError("TooLong", what, `${json.length} is over ${this.max}`);
        return json.map((item) => this.of.fromJson(item, what));
    }
}
class OptionType extends FieldType {
    of;
    constructor(of) {
        super();
        this.of = of;
    }
    write(value, out, what) {
        const is = value !== null && value !== undefined;
        out.u8(is ? 1 : 0);
        if (is)
            this.of.write(value, out, what);
    }
    read(reader, what) {
        return reader.flag(what) ? this.of.read(reader, what) : null;
    }
    toJson(value) {
        return value === null ? null : this.of.toJson(value);
    }
    fromJson(json, what) {
        return json === null || json === undefined ? null : this.of.fromJson(json, what);
    }
}
/** Fields in order, then the tail: a count of appended fields, each with its length in front. */
export class StructType extends FieldType {
    name;
    sealed;
    fields;
    base;
    appended;
    constructor(name, sealed, fields) {
        super();
        this.name = name;
        this.sealed = sealed;
        this.fields = fields;
        this.base = fields.filter((field) => field.since === 1);
        this.appended = fields.filter((field) => field.since > 1);
    }
    write(value, out, what) {
        if (!isObject(value))
            throw new EncodeError("BadValue", what, `not a ${this.name}`);
        for (const field of this.base)
            field.type.write(value[field.name], out, field.path);
        if (this.sealed)
            return;
        out.u8(this.appended.length);
        for (const field of this.appended) {
            const inner = new Writer();
            field.type.write(value[field.name], inner, field.path);
            const bytes = inner.finish();
            out.run(bytes, bytes.length, field.path);
        }
    }
    read(reader, _what) {
        const value = {};
        for (const field of this.base)
            value[field.name] = field.type.read(reader, field.path);
        if (!this.sealed)
            this.readTail(reader, value);
        return value;
    }
    readTail(reader, value) {
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
    toJson(value) {
        const json = {};
        for (const field of this.fields) {
            const held = value[field.name];
            if (held !== null && held !== undefined)
                json[field.name] = field.type.toJson(held);
        }
        return json;
    }
    fromJson(json, what) {
        if (!isObject(json))
            throw new DecodeError("BadValue", what, "not an object");
        const value = {};
        for (const field of this.fields) {
            if (Object.hasOwn(json, field.name)) {
                value[field.name] = field.type.fromJson(json[field.name], field.path);
            }
            else if (field.type instanceof OptionType) {
                value[field.name] = null;
            }
            else if (field.since > 1) {
                value[field.name] = field.fallback();
            }
            else {
                throw new DecodeError("Missing", field.path);
            }
        }
        return value;
    }
}
/** One byte that says which, then that: an object with the one key that says which. */
class UnionType extends FieldType {
    name;
    choices;
    constructor(name, choices) {
        super();
        this.name = name;
        this.choices = choices;
    }
    write(value, out, what) {
        const chosen = this.chosen(value);
        if (chosen === undefined)
            throw new EncodeError("BadValue", what, `not a ${this.name}`);
        out.u8(chosen.number);
        chosen.type.write(value[chosen.name], out, this.name);
    }
    read(reader, _what) {
        const number = reader.u8(this.name);
        const chosen = this.choices.find((choice) => choice.number === number);
        if (chosen === undefined)
            throw new DecodeError("BadValue", this.name, "none of its choices");
        return { [chosen.name]: chosen.type.read(reader, this.name) };
    }
    toJson(value) {
        const chosen = this.chosen(value);
        if (chosen === undefined)
            throw new EncodeError("BadValue", this.name, `not a ${this.name}`);
        return { [chosen.name]: chosen.type.toJson(value[chosen.name]) };
    }
    fromJson(json, what) {
        const chosen = this.chosen(json);
        if (chosen === undefined) {
            throw new DecodeError("BadValue", what, "not an object with the one key that says which");
        }
        const held = json[chosen.name];
        return { [chosen.name]: chosen.type.fromJson(held, this.name) };
    }
    /** The one choice whose key stands there; other keys are passed over. */
    chosen(value) {
        if (!isObject(value))
            return undefined;
        const known = this.choices.filter((choice) => Object.hasOwn(value, choice.name));
        return known.length === 1 ? known[0] : undefined;
    }
}
/** The body of a message in the binary codec. */
export function encode(type, value) {
    const out = new Writer();
    type.write(value, out, type.name);
    return out.finish();
}
/** Reads a whole body in the binary codec; it must end where the message ends. */
export function decode(type, body) {
    const reader = new Reader(body);
    const value = type.read(reader, type.name);
    reader.finish(type.name);
    return value;
}
/** The body of a message in the JSON codec. */
export function encodeJson(type, value) {
    encode(type, value); // The rules are the same.
    return UTF8_ENCODER.encode(JSON.stringify(type.toJson(value)));
}
/**
 * Reads a whole body in the JSON codec. `JSON.parse` reads it: of a key that stands twice the last
 * counts, `1.0` and `1e0` are taken for 1, and a number of 64 bits over 2^53 is taken as a string only,
 * as gates write it.
 */
export function decodeJson(type, body) {
    let json;
    try {
        json = JSON.parse(UTF8_DECODER.decode(body));
    }
    catch (error) {
        throw new DecodeError("BadText", type.name, String(error));
    }
    return type.fromJson(json, type.name);
}
/** Checks a client's first bytes, as a gate does; the version that they name. */
export function decodePreamble(bytes) {
    if (bytes.length !== PREAMBLE.length)
        throw new FrameError("Missing", "preamble");
    const differs = (from, to) => compareBytes(bytes.subarray(from, to), PREAMBLE.subarray(from, to)) !== 0;
    if (differs(0, 4))
        throw new FrameError("BadMagic", "preamble");
    if (differs(4, 5))
        throw new FrameError("BadHop", "preamble");
    if (differs(5, 6))
        throw new FrameError("BadVersion", "preamble");
    if (differs(7, 8))
        throw new FrameError("BadReserved", "preamble");
    if (!CODECS_KNOWN.includes(bytes[6]))
        throw new FrameError("BadCodec", "preamble");
    return bytes[5];
}
/** Reads a header and checks its length before anyone reserves it. */
export function decodeHeader(bytes, lengthMax) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = view.getUint32(0);
    if (length > lengthMax)
        throw new FrameError("TooLong", "frame", `${length} bytes are over ${lengthMax}`);
    const flags = view.getUint16(6);
    if ((flags & ~FLAGS_KNOWN) !== 0)
        throw new FrameError("UnknownFlags", "frame", flags.toString(16));
    return { length, command: view.getUint16(4), flags, sequence: view.getUint32(8) };
}
/** Header and body. */
export function encodeFrame(command, sequence, body, flags = 0) {
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
    lengthMax;
    buffer = new Uint8Array(0);
    /** `lengthMax` may change between two frames. */
    constructor(lengthMax) {
        this.lengthMax = lengthMax;
    }
    /**
     * Takes what came and hands out the frames that are whole now, and then the error that stands behind
     * them. Frames that are not asked for stay.
     */
    feed(bytes) {
        const buffer = new Uint8Array(this.buffer.length + bytes.length);
        buffer.set(this.buffer);
        buffer.set(bytes, this.buffer.length);
        this.buffer = buffer;
        return this.frames();
    }
    *frames() {
        while (this.buffer.length >= HEADER_LEN) {
            const { length, command, flags, sequence } = decodeHeader(this.buffer.subarray(0, HEADER_LEN), this.lengthMax);
            const end = HEADER_LEN + length;
            if (this.buffer.length < end)
                return;
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
};
const CodecIdType = new EnumType(CodecId, 1);
/** How bodies are encrypted inside TLS. */
export const Encryption = {
    /** They are not; TLS is enough. */
    None: 0,
    /** X25519, HKDF-SHA256, ChaCha20-Poly1305. */
    ChaCha20Poly1305: 1,
    /** X25519, HKDF-SHA256, AES-128-GCM. */
    Aes128Gcm: 2,
};
const EncryptionType = new EnumType(Encryption, 1);
export const HandShake = new StructType("HandShake", false, [
    { name: "app_id", path: "HandShake.app_id", type: new TextType(256), since: 1, fallback: () => "" },
    { name: "sdk", path: "HandShake.sdk", type: new TextType(256), since: 1, fallback: () => "" },
    { name: "codecs", path: "HandShake.codecs", type: new ListType(CodecIdType, 8), since: 1, fallback: () => [] },
    { name: "suites", path: "HandShake.suites", type: new ListType(EncryptionType, 8), since: 1, fallback: () => [] },
    { name: "key_share", path: "HandShake.key_share", type: new BytesType(32), since: 1, fallback: () => new Uint8Array(0) },
]);
export const HandShakeAck = new StructType("HandShakeAck", false, [
    { name: "signature", path: "HandShakeAck.signature", type: new BytesType(64), since: 1, fallback: () => new Uint8Array(0) },
    { name: "version", path: "HandShakeAck.version", type: U8, since: 1, fallback: () => 0 },
    { name: "codec", path: "HandShakeAck.codec", type: CodecIdType, since: 1, fallback: () => 0 },
    { name: "encryption", path: "HandShakeAck.encryption", type: EncryptionType, since: 1, fallback: () => 0 },
    { name: "frame_len_max", path: "HandShakeAck.frame_len_max", type: U32, since: 1, fallback: () => 0 },
    { name: "key_share", path: "HandShakeAck.key_share", type: new BytesType(32), since: 1, fallback: () => new Uint8Array(0) },
]);
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
};
const PlatformType = new EnumType(Platform, 1);
export const Auth = new StructType("Auth", false, [
    { name: "token", path: "Auth.token", type: new TextType(2048), since: 1, fallback: () => "" },
    { name: "device", path: "Auth.device", type: DeviceIdType, since: 1, fallback: () => null },
    { name: "platform", path: "Auth.platform", type: PlatformType, since: 1, fallback: () => 0 },
]);
const UserIdType = new IdType(64, false);
export const AuthAck = new StructType("AuthAck", false, [
    { name: "user", path: "AuthAck.user", type: UserIdType, since: 1, fallback: () => null },
    { name: "session", path: "AuthAck.session", type: U64, since: 1, fallback: () => 0n },
    { name: "heartbeat_ms", path: "AuthAck.heartbeat_ms", type: U32, since: 1, fallback: () => 0 },
    { name: "keep_alive_ms", path: "AuthAck.keep_alive_ms", type: U32, since: 1, fallback: () => 0 },
    { name: "server_time_ms", path: "AuthAck.server_time_ms", type: U64, since: 1, fallback: () => 0n },
]);
export const Empty = new StructType("Empty", false, []);
export const Position = new StructType("Position", true, [
    { name: "epoch", path: "Position.epoch", type: U64, since: 1, fallback: () => 0n },
    { name: "seq", path: "Position.seq", type: U64, since: 1, fallback: () => 0n },
]);
export const HeartBeatAck = new StructType("HeartBeatAck", false, [
    { name: "head", path: "HeartBeatAck.head", type: new OptionType(Position), since: 1, fallback: () => null },
    { name: "server_time_ms", path: "HeartBeatAck.server_time_ms", type: U64, since: 1, fallback: () => 0n },
]);
const GroupIdType = new IdType(64, false);
const TargetType = new UnionType("Target", [
    { name: "user", number: 1, type: UserIdType },
    { name: "group", number: 2, type: GroupIdType },
]);
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
};
const ContentTypeType = new EnumType(ContentType, 2);
export const SendMsg = new StructType("SendMsg", false, [
    { name: "to", path: "SendMsg.to", type: TargetType, since: 1, fallback: () => null },
    { name: "client_msg_id", path: "SendMsg.client_msg_id", type: ClientMsgIdType, since: 1, fallback: () => null },
    { name: "content_type", path: "SendMsg.content_type", type: ContentTypeType, since: 1, fallback: () => 0 },
    { name: "payload", path: "SendMsg.payload", type: new BytesType(16384), since: 1, fallback: () => new Uint8Array(0) },
]);
const ConversationIdType = new IdType(129, true);
export const SendAck = new StructType("SendAck", false, [
    { name: "conversation", path: "SendAck.conversation", type: ConversationIdType, since: 1, fallback: () => null },
    { name: "seq", path: "SendAck.seq", type: U64, since: 1, fallback: () => 0n },
    { name: "position", path: "SendAck.position", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
    { name: "receiver_seq", path: "SendAck.receiver_seq", type: U64, since: 1, fallback: () => 0n },
    { name: "time_ms", path: "SendAck.time_ms", type: U64, since: 1, fallback: () => 0n },
    { name: "repeated", path: "SendAck.repeated", type: BOOL, since: 1, fallback: () => false },
]);
export const Message = new StructType("Message", false, [
    { name: "conversation", path: "Message.conversation", type: ConversationIdType, since: 1, fallback: () => null },
    { name: "seq", path: "Message.seq", type: U64, since: 1, fallback: () => 0n },
    { name: "sender", path: "Message.sender", type: UserIdType, since: 1, fallback: () => null },
    { name: "client_msg_id", path: "Message.client_msg_id", type: ClientMsgIdType, since: 1, fallback: () => null },
    { name: "time_ms", path: "Message.time_ms", type: U64, since: 1, fallback: () => 0n },
    { name: "content_type", path: "Message.content_type", type: ContentTypeType, since: 1, fallback: () => 0 },
    { name: "payload", path: "Message.payload", type: new BytesType(16384), since: 1, fallback: () => new Uint8Array(0) },
]);
export const NewMsg = new StructType("NewMsg", false, [
    { name: "head", path: "NewMsg.head", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
    { name: "entry", path: "NewMsg.entry", type: new OptionType(Message), since: 1, fallback: () => null },
    { name: "query_after_ms", path: "NewMsg.query_after_ms", type: U32, since: 1, fallback: () => 0 },
]);
export const GetMsg = new StructType("GetMsg", false, [
    { name: "after", path: "GetMsg.after", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
    { name: "limit", path: "GetMsg.limit", type: U16, since: 1, fallback: () => 0 },
]);
export const Entry = new StructType("Entry", false, [
    { name: "seq", path: "Entry.seq", type: U64, since: 1, fallback: () => 0n },
    { name: "message", path: "Entry.message", type: Message, since: 1, fallback: () => ({ conversation: null, seq: 0n, sender: null, client_msg_id: null, time_ms: 0n, content_type: 0, payload: new Uint8Array(0) }) },
]);
export const MsgPage = new StructType("MsgPage", false, [
    { name: "head", path: "MsgPage.head", type: Position, since: 1, fallback: () => ({ epoch: 0n, seq: 0n }) },
    { name: "floor", path: "MsgPage.floor", type: U64, since: 1, fallback: () => 0n },
    { name: "entries", path: "MsgPage.entries", type: new ListType(Entry, 200), since: 1, fallback: () => [] },
    { name: "has_more", path: "MsgPage.has_more", type: BOOL, since: 1, fallback: () => false },
]);
export const ReadMsg = new StructType("ReadMsg", false, [
    { name: "conversation", path: "ReadMsg.conversation", type: ConversationIdType, since: 1, fallback: () => null },
    { name: "seq", path: "ReadMsg.seq", type: U64, since: 1, fallback: () => 0n },
]);
export const RevReadMsg = new StructType("RevReadMsg", false, [
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
};
const KickReasonType = new EnumType(KickReason, 1);
export const Kickout = new StructType("Kickout", false, [
    { name: "reason", path: "Kickout.reason", type: KickReasonType, since: 1, fallback: () => 0 },
    { name: "detail", path: "Kickout.detail", type: new TextType(256), since: 1, fallback: () => "" },
]);
export const Address = new StructType("Address", true, [
    { name: "text", path: "Address.text", type: new TextType(256), since: 1, fallback: () => "" },
]);
export const Redirect = new StructType("Redirect", false, [
    { name: "gates", path: "Redirect.gates", type: new ListType(Address, 16), since: 1, fallback: () => [] },
    { name: "after_ms", path: "Redirect.after_ms", type: U32, since: 1, fallback: () => 0 },
]);
/** Which way a history is read. */
export const Direction = {
    /** Ascending: places greater than `from`. */
    Forward: 0,
    /** Descending: places smaller than `from`; 0 stands for "from the newest". */
    Backward: 1,
};
const DirectionType = new EnumType(Direction, 1);
export const GetHistory = new StructType("GetHistory", false, [
    { name: "conversation", path: "GetHistory.conversation", type: ConversationIdType, since: 1, fallback: () => null },
    { name: "from", path: "GetHistory.from", type: U64, since: 1, fallback: () => 0n },
    { name: "direction", path: "GetHistory.direction", type: DirectionType, since: 1, fallback: () => 0 },
    { name: "limit", path: "GetHistory.limit", type: U16, since: 1, fallback: () => 0 },
]);
export const HistoryPage = new StructType("HistoryPage", false, [
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
};
const SignalKindType = new EnumType(SignalKind, 2);
export const Signal = new StructType("Signal", false, [
    { name: "to", path: "Signal.to", type: TargetType, since: 1, fallback: () => null },
    { name: "kind", path: "Signal.kind", type: SignalKindType, since: 1, fallback: () => 0 },
    { name: "payload", path: "Signal.payload", type: new BytesType(1024), since: 1, fallback: () => new Uint8Array(0) },
]);
export const RevSignal = new StructType("RevSignal", false, [
    { name: "conversation", path: "RevSignal.conversation", type: ConversationIdType, since: 1, fallback: () => null },
    { name: "sender", path: "RevSignal.sender", type: UserIdType, since: 1, fallback: () => null },
    { name: "kind", path: "RevSignal.kind", type: SignalKindType, since: 1, fallback: () => 0 },
    { name: "payload", path: "RevSignal.payload", type: new BytesType(1024), since: 1, fallback: () => new Uint8Array(0) },
]);
export const ListConversations = new StructType("ListConversations", false, [
    { name: "after", path: "ListConversations.after", type: new OptionType(ConversationIdType), since: 1, fallback: () => null },
    { name: "limit", path: "ListConversations.limit", type: U16, since: 1, fallback: () => 0 },
]);
export const ConversationSummary = new StructType("ConversationSummary", false, [
    { name: "conversation", path: "ConversationSummary.conversation", type: ConversationIdType, since: 1, fallback: () => null },
    { name: "name", path: "ConversationSummary.name", type: new TextType(256), since: 1, fallback: () => "" },
    { name: "head", path: "ConversationSummary.head", type: U64, since: 1, fallback: () => 0n },
    { name: "read_seq", path: "ConversationSummary.read_seq", type: U64, since: 1, fallback: () => 0n },
    { name: "unread", path: "ConversationSummary.unread", type: U64, since: 1, fallback: () => 0n },
    { name: "last", path: "ConversationSummary.last", type: new OptionType(Message), since: 1, fallback: () => null },
]);
export const ConversationPage = new StructType("ConversationPage", false, [
    { name: "conversations", path: "ConversationPage.conversations", type: new ListType(ConversationSummary, 200), since: 1, fallback: () => [] },
    { name: "has_more", path: "ConversationPage.has_more", type: BOOL, since: 1, fallback: () => false },
]);
export const CreateGroup = new StructType("CreateGroup", false, [
    { name: "group", path: "CreateGroup.group", type: GroupIdType, since: 1, fallback: () => null },
    { name: "name", path: "CreateGroup.name", type: new TextType(256), since: 1, fallback: () => "" },
    { name: "members", path: "CreateGroup.members", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
]);
export const Group = new StructType("Group", false, [
    { name: "group", path: "Group.group", type: GroupIdType, since: 1, fallback: () => null },
    { name: "name", path: "Group.name", type: new TextType(256), since: 1, fallback: () => "" },
    { name: "owner", path: "Group.owner", type: UserIdType, since: 1, fallback: () => null },
    { name: "members", path: "Group.members", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
]);
export const ChangeMembers = new StructType("ChangeMembers", false, [
    { name: "group", path: "ChangeMembers.group", type: GroupIdType, since: 1, fallback: () => null },
    { name: "add", path: "ChangeMembers.add", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
    { name: "remove", path: "ChangeMembers.remove", type: new ListType(UserIdType, 1000), since: 1, fallback: () => [] },
]);
export const ListGroups = new StructType("ListGroups", false, [
    { name: "after", path: "ListGroups.after", type: new OptionType(GroupIdType), since: 1, fallback: () => null },
    { name: "limit", path: "ListGroups.limit", type: U16, since: 1, fallback: () => 0 },
]);
export const GroupPage = new StructType("GroupPage", false, [
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
};
const RefusalCodeType = new EnumType(RefusalCode, 2);
export const Refusal = new StructType("Refusal", false, [
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
};
/** Every command. */
export const COMMANDS = [
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
export const BODIES = {
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
/** Every refusal. */
export const REFUSALS = [
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
export function retryOf(code) {
    const known = REFUSALS.find((refusal) => refusal.number === code);
    return known?.retry ?? (code >= 500 ? "Later" : "Never");
}
