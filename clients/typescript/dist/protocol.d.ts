/**
 * The sim protocol between a client and its gate: messages, codec, frames, refusals, limits.
 *
 * Written by `sim codegen --lang typescript` from the definitions; do not edit. `docs/protocol.md`
 * says what the messages mean and in which order they go. No dependencies; ES2022.
 *
 * Each message is an interface and, under the same name, its type for `encode` and `decode`. Numbers
 * of 64 bits are `bigint`. Numbers of enums that this version does not know are kept.
 */
export declare const PROTOCOL_VERSION = 1;
/** The first bytes that a client sends. */
export declare const PREAMBLE: Uint8Array;
/** Codecs that a gate speaks. */
export declare const CODECS_KNOWN: readonly number[];
export declare const HEADER_LEN = 12;
/** Set in `command` where a frame answers a request. */
export declare const ANSWER_BIT = 128;
/** The body is a `Refusal`. */
export declare const FLAG_REFUSED = 1;
/** The body is encrypted. */
export declare const FLAG_ENCRYPTED = 2;
export declare const FLAGS_KNOWN = 3;
export declare const ID_LEN_MAX = 64;
export declare const CONVERSATION_ID_LEN_MAX = 129;
export declare const PAYLOAD_LEN_MAX = 16384;
export declare const SIGNAL_LEN_MAX = 1024;
export declare const TOKEN_LEN_MAX = 2048;
export declare const TEXT_LEN_MAX = 256;
export declare const PAGE_ROWS_MAX = 200;
export declare const GROUP_MEMBERS_MAX = 1000;
export declare const CODECS_MAX = 8;
export declare const SUITES_MAX = 8;
export declare const KEY_SHARE_LEN = 32;
export declare const SIGNATURE_LEN = 64;
export declare const GATES_MAX = 16;
export declare const CLIENT_FRAME_LEN_MAX = 65536;
export declare const SERVER_FRAME_LEN_MAX = 524288;
export declare const CODED_GROWTH_MAX = 4;
/** Bytes or values that break the protocol's rules. `kind` is one of a few fixed words. */
export declare class ProtocolError extends Error {
    readonly kind: string;
    readonly what: string;
    constructor(kind: string, what: string, why?: string);
}
/** A body that is refused: Missing, Trailing, TooLong, BadUtf8, BadValue, BadVarint, BadText. */
export declare class DecodeError extends ProtocolError {
}
/** A value that may not be sent. */
export declare class EncodeError extends ProtocolError {
}
/** A stream that stopped being one: BadMagic, BadHop, BadVersion, BadCodec, BadReserved, TooLong, UnknownFlags. */
export declare class FrameError extends ProtocolError {
}
/** A cursor over one body that never looks behind its end. */
declare class Reader {
    private readonly data;
    private at;
    private readonly view;
    constructor(data: Uint8Array);
    take(length: number, what: string): Uint8Array;
    /** Steps over `length` bytes; where they began. */
    private skip;
    u8(what: string): number;
    u16(what: string): number;
    u32(what: string): number;
    u64(what: string): bigint;
    flag(what: string): boolean;
    varint(what: string): number;
    /** A length or count, which meets its maximum before anything is done with it. */
    length(max: number, what: string): number;
    finish(what: string): void;
}
/** Bytes that grow. */
declare class Writer {
    private data;
    private view;
    private length;
    /** Makes room for `length` bytes; where they begin. */
    private grow;
    u8(value: number): void;
    u16(value: number): void;
    u32(value: number): void;
    u64(value: bigint): void;
    bytes(bytes: Uint8Array): void;
    varint(value: number): void;
    run(bytes: Uint8Array, max: number, what: string): void;
    finish(): Uint8Array;
}
/** What a field can be: how it is written to and read from bytes, and from a tree of JSON. */
declare abstract class FieldType<T> {
    abstract write(value: T, out: Writer, what: string): void;
    abstract read(reader: Reader, what: string): T;
    abstract toJson(value: T): unknown;
    abstract fromJson(json: unknown, what: string): T;
}
/** The name of a number, if it has one. */
export declare function nameOf(names: Readonly<Record<string, number>>, value: number): string | undefined;
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
export declare class StructType<T> extends FieldType<T> {
    readonly name: string;
    private readonly sealed;
    private readonly fields;
    private readonly base;
    private readonly appended;
    constructor(name: string, sealed: boolean, fields: readonly Field[]);
    write(value: T, out: Writer, what: string): void;
    read(reader: Reader, _what: string): T;
    private readTail;
    toJson(value: T): unknown;
    fromJson(json: unknown, what: string): T;
}
/** The body of a message in the binary codec. */
export declare function encode<T>(type: StructType<T>, value: T): Uint8Array;
/** Reads a whole body in the binary codec; it must end where the message ends. */
export declare function decode<T>(type: StructType<T>, body: Uint8Array): T;
/** The body of a message in the JSON codec. */
export declare function encodeJson<T>(type: StructType<T>, value: T): Uint8Array;
/**
 * Reads a whole body in the JSON codec. `JSON.parse` reads it: of a key that stands twice the last
 * counts, `1.0` and `1e0` are taken for 1, and a number of 64 bits over 2^53 is taken as a string only,
 * as gates write it.
 */
export declare function decodeJson<T>(type: StructType<T>, body: Uint8Array): T;
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
export declare function decodePreamble(bytes: Uint8Array): number;
/** Reads a header and checks its length before anyone reserves it. */
export declare function decodeHeader(bytes: Uint8Array, lengthMax: number): Header;
/** Header and body. */
export declare function encodeFrame(command: number, sequence: number, body: Uint8Array, flags?: number): Uint8Array;
/** Cuts a stream of bytes into frames. After an error the stream has no next frame. */
export declare class Deframer {
    lengthMax: number;
    private buffer;
    /** `lengthMax` may change between two frames. */
    constructor(lengthMax: number);
    /**
     * Takes what came and hands out the frames that are whole now, and then the error that stands behind
     * them. Frames that are not asked for stay.
     */
    feed(bytes: Uint8Array): IterableIterator<Frame>;
    private frames;
}
/** Which codec a client chose in its handshake. Every codec carries the same messages. */
export declare const CodecId: {
    /** The compact binary layout. */
    readonly Binary: 0;
    /** JSON text, for debugging and scripts. */
    readonly Json: 1;
    /** Protocol buffers. */
    readonly Protobuf: 2;
};
export type CodecId = number;
/** How bodies are encrypted inside TLS. */
export declare const Encryption: {
    /** They are not; TLS is enough. */
    readonly None: 0;
    /** X25519, HKDF-SHA256, ChaCha20-Poly1305. */
    readonly ChaCha20Poly1305: 1;
    /** X25519, HKDF-SHA256, AES-128-GCM. */
    readonly Aes128Gcm: 2;
};
export type Encryption = number;
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
export declare const HandShake: StructType<HandShake>;
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
export declare const HandShakeAck: StructType<HandShakeAck>;
/**
 * One installation of a client. A user has one sync position per device. The rules: 1 to 64 bytes
 * of UTF-8 without ':' and without control characters (U+0000 to U+001F, U+007F to U+009F).
 */
export type DeviceId = string;
/** The kind of a device. */
export declare const Platform: {
    /** A program without a person at it. */
    readonly Bot: 0;
    /** A computer. */
    readonly Desktop: 1;
    /** A telephone or tablet. */
    readonly Mobile: 2;
    /** A browser. */
    readonly Web: 3;
};
export type Platform = number;
/** Log in. */
export interface Auth {
    /** The access token that `POST /user/login` gave. */
    token: string;
    /** This installation. A second login of the same device replaces the first. */
    device: DeviceId;
    /** Its kind. */
    platform: Platform;
}
export declare const Auth: StructType<Auth>;
/**
 * A person or a program that sends and receives. The rules: 1 to 64 bytes of UTF-8 without ':' and
 * without control characters (U+0000 to U+001F, U+007F to U+009F).
 */
export type UserId = string;
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
export declare const AuthAck: StructType<AuthAck>;
/** A body without fields. */
export interface Empty {
}
export declare const Empty: StructType<Empty>;
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
export declare const Position: StructType<Position>;
/** The answer to a heartbeat. */
export interface HeartBeatAck {
    /** The head of the user's timeline; `None` when it could not be had in time. */
    head: Position | null;
    /** The server's clock, milliseconds since 1970. */
    server_time_ms: bigint;
}
export declare const HeartBeatAck: StructType<HeartBeatAck>;
/**
 * A group; also the id of its conversation. The rules: 1 to 64 bytes of UTF-8 without ':' and
 * without control characters (U+0000 to U+001F, U+007F to U+009F).
 */
export type GroupId = string;
/** To whom a message goes: one byte (1 a user, 2 a group), then the id. */
export type Target = {
    user: UserId;
} | {
    group: GroupId;
};
/**
 * Chosen by the sender, once per message; with the sender's id it makes a send idempotent. The
 * rules: 1 to 64 bytes of UTF-8 without ':' and without control characters (U+0000 to U+001F,
 * U+007F to U+009F).
 */
export type ClientMsgId = string;
/** What a message's payload is. The server never looks into it. */
export declare const ContentType: {
    /** UTF-8 text. */
    readonly Text: 1;
    /** A picture. */
    readonly Image: 2;
    /** Sound. */
    readonly Audio: 3;
    /** A film. */
    readonly Video: 4;
    /** A place on earth. */
    readonly Position: 5;
    /** A file. */
    readonly File: 6;
    /** A sticker or emotion. */
    readonly Sticker: 7;
    /** A link with a snapshot of what it leads to. */
    readonly Link: 8;
    /** A JSON object, as sent by the HTTP interface. */
    readonly Json: 9;
    /** Written by the server: a member came or went. */
    readonly System: 10;
};
export type ContentType = number;
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
export declare const SendMsg: StructType<SendMsg>;
/**
 * A conversation: the two user ids with a ':' between them, or a group's id. Only the former has a
 * ':'. The rules: a group id; or two user ids with ':' between them, the smaller by bytes first.
 */
export type ConversationId = string;
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
export declare const SendAck: StructType<SendAck>;
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
export declare const Message: StructType<Message>;
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
export declare const NewMsg: StructType<NewMsg>;
/** Pull what is behind a position. Everything up to it counts as fetched by this device. */
export interface GetMsg {
    /** The last position that the client has; the default when it has none. */
    after: Position;
    /** Rows wanted at most; 0 leaves it to the server. */
    limit: number;
}
export declare const GetMsg: StructType<GetMsg>;
/** A message in a user's timeline. */
export interface Entry {
    /** The place in the user's timeline. */
    seq: Seq;
    /** The message. */
    message: Message;
}
export declare const Entry: StructType<Entry>;
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
export declare const MsgPage: StructType<MsgPage>;
/** Everything in the conversation up to `seq` has been read. */
export interface ReadMsg {
    /** The conversation. */
    conversation: ConversationId;
    /** The place in the conversation. */
    seq: Seq;
}
export declare const ReadMsg: StructType<ReadMsg>;
/** ← Somebody has read: the peer, or this user on another device. */
export interface RevReadMsg {
    /** The conversation. */
    conversation: ConversationId;
    /** Who has read. */
    reader: UserId;
    /** Up to where. */
    seq: Seq;
}
export declare const RevReadMsg: StructType<RevReadMsg>;
/** Why a connection is ended by the server. */
export declare const KickReason: {
    /**
     * A later login took this one's place: of the same device, or of one more than may be logged in.
     */
    readonly LoggedInElsewhere: 1;
    /** The account may not log in any more. */
    readonly Forbidden: 2;
    /** The password changed or the login was revoked. */
    readonly Revoked: 3;
    /** The connection did not take what was sent to it. */
    readonly SlowConsumer: 4;
    /** Nothing was heard for the keep-alive time. */
    readonly Idle: 5;
};
export type KickReason = number;
/** ← The gate ends this connection. */
export interface Kickout {
    /** Why. */
    reason: KickReason;
    /** For a person. */
    detail: string;
}
export declare const Kickout: StructType<Kickout>;
/** `host:port`. */
export interface Address {
    /** `host:port`. */
    text: string;
}
export declare const Address: StructType<Address>;
/** ← Connect again, elsewhere where addresses are given. */
export interface Redirect {
    /** Addresses to try, `host:port`; empty for "the ones you know". */
    gates: Address[];
    /** Milliseconds to wait before, so that not everybody comes at once. */
    after_ms: number;
}
export declare const Redirect: StructType<Redirect>;
/** Which way a history is read. */
export declare const Direction: {
    /** Ascending: places greater than `from`. */
    readonly Forward: 0;
    /** Descending: places smaller than `from`; 0 stands for "from the newest". */
    readonly Backward: 1;
};
export type Direction = number;
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
export declare const GetHistory: StructType<GetHistory>;
/** A page of a history, in the order that was asked for. */
export interface HistoryPage {
    /** The conversation's greatest place. */
    head: Seq;
    /** The rows. */
    messages: Message[];
    /** Whether there is more behind the last row. */
    has_more: boolean;
}
export declare const HistoryPage: StructType<HistoryPage>;
/** What an online-only signal says. */
export declare const SignalKind: {
    /** The user is writing. */
    readonly Typing: 1;
    /** Whatever the application makes of the payload. */
    readonly Custom: 2;
};
export type SignalKind = number;
/** Tell those who are online; nothing is stored. */
export interface Signal {
    /** To whom. */
    to: Target;
    /** What. */
    kind: SignalKind;
    /** The application's own. */
    payload: Uint8Array;
}
export declare const Signal: StructType<Signal>;
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
export declare const RevSignal: StructType<RevSignal>;
/** List the user's conversations, in the order of their ids. */
export interface ListConversations {
    /** The last id of the page before; `None` for the first page. */
    after: ConversationId | null;
    /** Rows wanted at most; 0 leaves it to the server. */
    limit: number;
}
export declare const ListConversations: StructType<ListConversations>;
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
export declare const ConversationSummary: StructType<ConversationSummary>;
/** A page of conversations. */
export interface ConversationPage {
    /** The rows. */
    conversations: ConversationSummary[];
    /** Whether there is more behind the last row. */
    has_more: boolean;
}
export declare const ConversationPage: StructType<ConversationPage>;
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
export declare const CreateGroup: StructType<CreateGroup>;
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
export declare const Group: StructType<Group>;
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
export declare const ChangeMembers: StructType<ChangeMembers>;
/** List the groups that the user belongs to, in the order of their ids. */
export interface ListGroups {
    /** The last id of the page before; `None` for the first page. */
    after: GroupId | null;
    /** Rows wanted at most; 0 leaves it to the server. */
    limit: number;
}
export declare const ListGroups: StructType<ListGroups>;
/** A page of groups. */
export interface GroupPage {
    /** The rows. */
    groups: Group[];
    /** Whether there is more behind the last row. */
    has_more: boolean;
}
export declare const GroupPage: StructType<GroupPage>;
/** Why a request or a connection was refused. */
export declare const RefusalCode: {
    /** the first bytes are not this protocol's */
    readonly BadMagic: 100;
    /** this protocol version is not spoken here */
    readonly BadVersion: 101;
    /** a frame that breaks the framing rules */
    readonly BadFrame: 102;
    /** a frame over the maximum length */
    readonly FrameTooLong: 103;
    /** a body that does not decode */
    readonly BadBody: 104;
    /** a command that is not known here */
    readonly UnknownCommand: 105;
    /** a command that does not belong at this step */
    readonly OutOfOrder: 106;
    /** none of the offered codecs is spoken here */
    readonly NoCodec: 107;
    /** encrypted bodies are not offered here */
    readonly NoEncryption: 108;
    /** only encrypted bodies are taken here */
    readonly EncryptionRequired: 109;
    /** none of the offered body encryptions is spoken here */
    readonly NoSuite: 110;
    /** a key share that no key can be agreed with */
    readonly BadKeyShare: 111;
    /** a frame that does not open with the agreed keys */
    readonly NotAuthentic: 112;
    /** the token is malformed, or signed by no known key */
    readonly BadToken: 200;
    /** the token has expired */
    readonly ExpiredToken: 201;
    /** a command that needs a login first */
    readonly NotLoggedIn: 202;
    /** the step took longer than it may */
    readonly TooSlow: 203;
    /** this device logged in on another connection */
    readonly LoggedInElsewhere: 204;
    /** this account is banned */
    readonly Banned: 205;
    /** an id that is empty, too long, or has a forbidden character */
    readonly BadId: 300;
    /** a payload or list over its maximum */
    readonly TooLarge: 301;
    /** the same message id was sent before with other content */
    readonly IdReused: 302;
    /** there is no such group */
    readonly NoSuchGroup: 303;
    /** only members may do this */
    readonly NotAMember: 304;
    /** the role does not allow this */
    readonly NotAllowed: 305;
    /** there is no such conversation */
    readonly NoSuchConversation: 306;
    /** a group of that id exists */
    readonly GroupExists: 307;
    /** a position beyond the head of the timeline */
    readonly BadPosition: 308;
    /** there is no such user */
    readonly NoSuchUser: 309;
    /** too many requests */
    readonly RateLimited: 400;
    /** too many connections */
    readonly TooManyConnections: 401;
    /** the server has no room for the request right now */
    readonly Busy: 500;
    /** a part of the server cannot be reached */
    readonly Unavailable: 501;
    /** no answer in time; the request may or may not have happened */
    readonly DeadlineExceeded: 502;
    /** this server is going away */
    readonly Draining: 503;
    /** the server failed; its log says why */
    readonly Internal: 504;
};
export type RefusalCode = number;
/** A refusal with what the peer may want to know beside the code. */
export interface Refusal {
    /** Which row of the table. */
    code: RefusalCode;
    /** For a person; never parsed. */
    detail: string;
    /** Milliseconds to wait before a retry; 0 leaves it to the peer. */
    retry_after_ms: number;
}
export declare const Refusal: StructType<Refusal>;
/** What a frame between a client and its gate is. Those marked ← come from the server unasked. */
export declare const Command: {
    /** HandShake → HandShakeAck; the first frame, in the codec that the preamble names. */
    readonly HandShake: 1;
    /** Auth → AuthAck; the second. */
    readonly Auth: 2;
    /** Empty → Empty; the login ends, and the gate closes. */
    readonly Logout: 3;
    /** Empty → HeartBeatAck; the client is there, and asks how far its timeline reaches. */
    readonly HeartBeat: 4;
    /** SendMsg → SendAck; idempotent by sender and `client_msg_id`. */
    readonly SendMsg: 5;
    /** ← NewMsg. */
    readonly NewMsg: 6;
    /** GetMsg → MsgPage. */
    readonly GetMsg: 7;
    /** ReadMsg → Empty. */
    readonly ReadMsg: 8;
    /** ← RevReadMsg. */
    readonly RevReadMsg: 9;
    /** ← Kickout; then the gate closes. */
    readonly Kickout: 10;
    /** ← Redirect. */
    readonly Redirect: 11;
    /** GetHistory → HistoryPage. */
    readonly GetHistory: 12;
    /** Signal → Empty. */
    readonly Signal: 13;
    /** ← RevSignal. */
    readonly RevSignal: 14;
    /** ListConversations → ConversationPage. */
    readonly ListConversations: 15;
    /** CreateGroup → Group. */
    readonly CreateGroup: 16;
    /** ChangeMembers → Group. */
    readonly ChangeMembers: 17;
    /** ListGroups → GroupPage. */
    readonly ListGroups: 18;
};
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
export declare const COMMANDS: readonly CommandInfo[];
/** Every body by its name. */
export declare const BODIES: Readonly<Record<string, StructType<any>>>;
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
export declare const REFUSALS: readonly RefusalInfo[];
/** Whether asking again may help; a code that is not known is judged by its number. */
export declare function retryOf(code: RefusalCode): Retry;
export {};
