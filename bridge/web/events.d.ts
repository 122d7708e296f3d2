// The wire contract as types. Written by `python -m bridge documents`; the source are types in Python.

/** 42 and "42" are two ids. */
export type Id = string | number;

export type FinishReason = "stop" | "length" | "content-filter" | "tool-calls" | "cancelled" | "timeout" | "interrupted" | "error" | "other";

export type RequestCode = "not_an_object" | "missing_field" | "bad_field" | "bad_id" | "bad_text" | "empty_content" | "content_too_large" | "binary_refused" | "unknown_event" | "unknown_message" | "not_joined" | "request_id_conflict" | "bad_auth" | "bad_origin" | "bad_type" | "streaming_off" | "busy" | "draining" | "internal" | "unauthorized" | "token_expired" | "auth_unavailable" | "not_a_member" | "membership_unknown" | "rate_limited" | "too_many_connections" | "too_many_rooms";

/** Why not: `code` is for programs, `message` for people. */
export type WireError = { code: string; message: string };

/** The response to a request that was refused, or failed. */
export type Refused = { error: WireError };

/** The ack of what was refused. */
export type Unacked = { ok: false; error: WireError };

/** A complete message, with what else the backend gave. */
export type NewMessage = { requestId: Id; roomId: Id; messageId: Id; role: "user" | "assistant"; content: string; createdAt: string; [further: string]: unknown };

/** The backend began to answer. */
export type Start = { requestId: Id; roomId: Id; messageId: Id };

/** Text; a merged chunk covers `fromSeq` to `seq`, any other covers `seq` alone (from 1). */
export type Chunk = { requestId: Id; roomId: Id; messageId: Id; seq: number; delta: string; fromSeq?: number };

/** What the model thinks to itself; heard only where the operator wants it shown. Has no seq. */
export type Reasoning = { requestId: Id; roomId: Id; messageId: Id; delta: string };

/** What the backend is busy with; `messageId` is missing until the start. */
export type Status = { requestId: Id; roomId: Id; messageId?: Id; status: string };

/** A tool call of the answer moved to `state`. */
export type Tool = { requestId: Id; roomId: Id; messageId: Id; toolCallId: string; name: string; state: "start" | "call" | "result" | "error"; success?: boolean; jobId?: string };

/** The turn is over; `content` is authoritative. */
export type End = { requestId: Id; roomId: Id; messageId: Id; content: string; finishReason: FinishReason; error?: WireError; conversationId?: Id };

/** The device may hear no more: of one room, or at all. */
export type AccessEnded = { code: RequestCode; roomId?: Id };

/** What a device says when it connects; it hears chunks (`streaming`), complete messages, or both. */
export type Auth = { token?: string | null; streaming?: boolean | null };

/** Enter a room; `resume` is the last seq the device has of each unfinished message. */
export type Join = { roomId: Id; resume?: Record<string, number> | null };

/** Leave a room. */
export type Leave = { roomId: Id };

/** Ask the backend; what else is sent is passed on as it came. */
export type Send = { roomId: Id; content: string; requestId?: Id | null; [further: string]: unknown };

/** End a running turn, named by its answer or by its request. */
export type Stop = { roomId: Id; messageId?: Id | null; requestId?: Id | null } & ({ messageId: Id } | { requestId: Id });

/** Ask for what follows `seq` in one message. */
export type Resume = { roomId: Id; messageId: Id; seq: number };

/** Show a fresh token in the place of the one that expires. */
export type Renew = { token: string };

/** A running turn as the ack of a join names it. */
export type ActiveTurn = { requestId: Id; messageId: Id; seq: number };

/** What runs in the room; `lost` are messages to be resumed that nobody knows any more. */
export type JoinAck = { roomId: Id; active: ActiveTurn[]; lost?: string[] };

/** The turn is claimed; a `duplicate` attached to one that was there. */
export type SendAck = { requestId: Id; messageId?: Id; duplicate?: true };

/** Whether the message was known, and its last seq. */
export type ResumeAck = { recovered: boolean; seq: number };

/** It is done. */
export type Done = object;

/** Rooms and users by name. */
export type Listed = { rooms?: (string | number)[]; users?: (string | number)[] };

export interface RoomEvents {
  ai_message_chunk: Chunk;
  ai_message_start: Start;
  ai_message_end: End;
  ai_message_status: Status;
  ai_message_tool: Tool;
  ai_message_reasoning: Reasoning;
  new_message: NewMessage;
  access_ended: AccessEnded;
}

export interface DeviceEvents {
  join_room: Join;
  leave_room: Leave;
  send_message: Send;
  stop_message: Stop;
  resume: Resume;
  renew: Renew;
}

export interface Acks {
  join_room: JoinAck;
  leave_room: Done;
  send_message: SendAck;
  stop_message: Done;
  resume: ResumeAck;
  renew: Done;
}

export type Ack<E extends keyof DeviceEvents> = ({ ok: true } & Acks[E]) | Unacked;
