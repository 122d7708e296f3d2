// The wire contract as types: what a room hears, what a device asks, and how it is acked. See README.md.

/** 42 and "42" are two ids. */
export type Id = string | number;

export interface WireError {
  code: string;
  message: string;
}

export type FinishReason = "stop" | "length" | "content-filter" | "tool-calls" | "cancelled" | "timeout" | "interrupted" | "error" | "other";

interface OfTurn {
  requestId: Id;
  roomId: Id;
}

interface OfAnswer extends OfTurn {
  messageId: Id;
}

export interface NewMessage extends OfAnswer {
  role: "user" | "assistant";
  content: string;
  /** ISO 8601, UTC. */
  createdAt: string;
  /** What else the backend gave. */
  [further: string]: unknown;
}

/** Covers `fromSeq` (absent: `seq`) to `seq`; taken if and only if it begins behind the last seq. */
export interface Chunk extends OfAnswer {
  seq: number;
  fromSeq?: number;
  delta: string;
}

export interface Status extends OfTurn {
  messageId?: Id;
  status: string;
}

export interface Tool extends OfAnswer {
  toolCallId: string;
  name: string;
  state: "start" | "call" | "result" | "error";
  success?: boolean;
  jobId?: string;
}

/** `content` is authoritative. */
export interface End extends OfAnswer {
  content: string;
  finishReason: FinishReason;
  error?: WireError;
  conversationId?: Id;
}

export interface RoomEvents {
  new_message: NewMessage;
  ai_message_start: OfAnswer;
  ai_message_chunk: Chunk;
  ai_message_reasoning: OfAnswer & { delta: string };
  ai_message_status: Status;
  ai_message_tool: Tool;
  ai_message_end: End;
  access_ended: { code: string; roomId?: Id };
}

export interface DeviceEvents {
  join_room: { roomId: Id; resume?: Record<string, number> };
  leave_room: { roomId: Id };
  send_message: { roomId: Id; content: string; requestId?: Id; [further: string]: unknown };
  stop_message: { roomId: Id } & ({ messageId: Id } | { requestId: Id });
  resume: { roomId: Id; messageId: Id; seq: number };
  renew: { token: string };
}

export interface Acks {
  join_room: { roomId: Id; active: { requestId: Id; messageId: Id | null; seq: number }[]; lost?: string[] };
  leave_room: object;
  send_message: { requestId: Id; messageId?: Id; duplicate?: true };
  stop_message: object;
  resume: { recovered: boolean; seq: number };
  renew: object;
}

export type Ack<E extends keyof DeviceEvents> = ({ ok: true } & Acks[E]) | { ok: false; error: WireError };
