#!/usr/bin/env bash
# A room by curl alone: hear it, ask, lose the connection and resume, ask in one call, flip the flag.
#   examples/curl/chat.sh [ADDRESS [ROOM]]
# It turns streaming off and on, so it is for the demo or a bridge of your own (whose BRIDGE_ADMIN_TOKEN it takes).
set -euo pipefail
address=${1:-http://127.0.0.1:8080} room=${2:-demo}

post() { curl -sSN "$address$1" -H "Content-Type: application/json" -d "$2"; }
flag() { curl -sSf "$address/admin/flag" -H "Authorization: Bearer ${BRIDGE_ADMIN_TOKEN:-}" "$@"; echo; }
turn() { flag -X PUT -H "Content-Type: application/json" -d "{\"value\": \"$1\", \"why\": \"an example\"}"; }

listen() { # the room's events on file descriptor 3; the arguments are curl's
  exec 3< <(exec curl -sSN "$address/chat/rooms/$room/stream?streaming=true" "$@")
  listener=$!
  read -r _ <&3 # its first line says how soon to come back: now this device is in the room
}
until_heard() { # print what is heard up to the $2nd event $1; keep the last id
  local awaited=$2 name=""
  while [ "$awaited" -gt 0 ] && IFS= read -r line <&3; do
    case $line in
      "event: "*) name=${line#event: } ;;
      "id: "*) last=${line#id: } ;;
      "data: "*) echo "$name ${line#data: }" ;;
      "") [ "$name" != "$1" ] || awaited=$((awaited - 1)); name="" ;;
    esac
  done
  [ "$awaited" -eq 0 ]
}
hang_up() { kill "$listener" 2>/dev/null || true; exec 3<&-; }

echo "== hear the room, ask, and lose the connection behind five chunks"
listen
post /chat/events "{\"event\": \"send_message\", \"data\": {\"roomId\": \"$room\", \"content\": \"What is the sea?\"}}"; echo
until_heard ai_message_chunk 5
hang_up

echo "== resume behind $last"
listen -H "Last-Event-ID: $last"
until_heard ai_message_end 1
hang_up

echo "== ask and hear in one call"
post /stream/ "{\"chat_id\": \"$room\", \"content\": \"And a lake?\"}"

echo "== ask and wait for the complete message"
post /messages/ "{\"chat_id\": \"$room\", \"content\": \"And a pond?\"}"; echo

echo "== flag off: nothing streams, and the refusal says where to ask"
trap 'turn on' EXIT
turn off
post /stream/ "{\"chat_id\": \"$room\", \"content\": \"A puddle?\"}"; echo

echo "== flag on again"
