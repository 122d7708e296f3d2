import type { Ack, DeviceEvents, FinishReason, Id, Tool, WireError } from "./events.js";

export * from "./events.js";

export interface Auth {
  token?: string;
  /** true: chunks; false: only complete messages; absent: both. */
  streaming?: boolean;
}

export interface AnyConnection {
  readonly connected: boolean;
  /** Hears every event, and "connect", "disconnect", "refused"; returns what ends it. */
  listen(listener: (event: string, data?: any) => void): () => void;
  emit<E extends keyof DeviceEvents>(event: E, data: DeviceEvents[E]): Promise<Ack<E>>;
  /** Cut the connection as a network would; it comes back. */
  drop(): void;
  close(): void;
}

export type Way = (address: string, auth: Auth, line: any) => { emit: (event: string, data: any, id: Id) => void; close: () => void };

export const overWebSocket: Way;
export const overEventStream: Way;
export const overCompleteCall: Way;

type AuthOrSource = Auth | (() => Auth | Promise<Auth>);

export interface Connection extends AnyConnection {
  readonly address: string;
  readonly way: string;
}
export const Connection: new (addresses: string | string[], auth?: AuthOrSource, ways?: Way[]) => Connection;

/** Over a socket of socket.io-client 4. */
export interface SocketIoConnection extends AnyConnection {}
export const SocketIoConnection: new (socket: object) => SocketIoConnection;

export function connect(given: { socket: object } | { addresses: string | string[]; auth?: AuthOrSource; ways?: Way[] }): AnyConnection;

export interface Message {
  /** The same from its first appearance on, so that nothing flashes. */
  key: Id;
  requestId: Id;
  messageId?: Id;
  role: "user" | "assistant";
  text: string;
  state: "waiting" | "streaming" | "done" | "error";
  seq: number;
  gap: boolean;
  reason?: FinishReason;
  error?: WireError;
  tools: Pick<Tool, "toolCallId" | "name" | "state">[];
  reasoning: string;
}

export interface RoomState {
  /** In the order of appearance. */
  readonly messages: readonly Message[];
  /** The requests of which no text is there yet. */
  readonly thinking: readonly Id[];
  readonly connected: boolean;
  readonly conversationId: Id | null;
}

export const NOTHING: RoomState;

/** What a room looks like after `event`. */
export function apply(state: RoomState, event: string, data: any): RoomState;

export class Room {
  constructor(connection: AnyConnection, roomId?: Id);
  readonly roomId: Id;
  readonly connected: boolean;
  onerror: (error: WireError) => void;
  subscribe: (subscriber: () => void) => () => void;
  getSnapshot: () => RoomState;
  /** Shows the message at once, and sends it until the bridge has it; returns the request's id. */
  send(content: string): string;
  /** Sends what was refused once more, as the same request. */
  retry(requestId: Id): void;
  /** Ends every answer that is under way. */
  stop(): void;
  running(): Id[];
}

export class Rooms {
  constructor(connection: AnyConnection);
  /** The room; none: a new conversation, found under its conversation's id too once it has one. */
  get(id?: Id | null): Room;
}
