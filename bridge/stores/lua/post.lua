-- Stands before every script: how a letter reaches the inbox of a node, or of all other nodes of a room, and how
-- servers that are no bridges hear of it. Letters are numbered, so that their reader knows when some are lost; it reads
-- their fields by position, so whatever a kind of letter comes to say more stands behind what it says now.

local ENDED_LATELY_MS = 30000

local function has_ended(p, room, turn)
  redis.call('ZREM', p .. 'leases', turn)
  redis.call('SREM', p .. 'running:' .. room, turn)
  local ended, t = p .. 'ended:' .. room, redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  redis.call('ZREMRANGEBYSCORE', ended, '-inf', now - ENDED_LATELY_MS)
  redis.call('ZADD', ended, now, turn)
  redis.call('PEXPIRE', ended, ENDED_LATELY_MS)
end

local function post(p, node, length, ttl, ...)
  local life, inbox = p .. 'node:' .. node, p .. 'inbox:' .. node
  if redis.call('EXISTS', life) == 0 then return false end -- an XADD would raise its inbox from the dead
  local said = redis.pcall('XADD', inbox, 'MAXLEN', '~', length, '*',
    'letter', redis.call('HINCRBY', life, 'letters', 1), ...)
  if type(said) == 'table' and said.err then
    redis.call('DEL', inbox) -- no inbox of ours: its reader finds the number missing
  else
    redis.call('PEXPIRE', inbox, ttl)
  end
  return true
end

local function post_to_others(p, node, room, length, ttl, ...)
  local nodes = p .. 'nodes:' .. room
  for _, other in ipairs(redis.call('SMEMBERS', nodes)) do
    if other ~= node and not post(p, other, length, ttl, ...) then redis.call('SREM', nodes, other) end
  end
end

-- Run the commands that stand in ARGV from `at` to `last`, each behind its length. None may cost the room its message.
local function run_copies(at, last)
  while at <= (last or #ARGV) do
    redis.pcall(unpack(ARGV, at + 1, at + ARGV[at]))
    at = at + ARGV[at] + 1
  end
end

