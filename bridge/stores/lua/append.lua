-- Keep the next batch of a turn, and put it into the inboxes of the other nodes of its room.
-- ARGV: prefix, node, turn, epoch, number, ended, batch, position, answer, lease ms, ttl ms, window ms, inbox length,
--       inbox ms, copies
-- The lease and the lifetimes are renewed by every eighth batch, and the lease by the heartbeat of its owner: they would
-- else be half of the work.
local RENEWED_EVERY = 8
local p, node, turn = ARGV[1], ARGV[2], ARGV[3]
local number, ended, window = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[12])
local key, journal = p .. 'turn:' .. turn, p .. 'journal:' .. turn

local kept = redis.call('HMGET', key, 'owner', 'epoch', 'state', 'last', 'stop', 'room', 'request', 'asked')
if not kept[1] then return { 'gone', 0 } end
if kept[1] ~= node or kept[2] ~= ARGV[4] then return { 'fenced', 0 } end
local last, stop, room = tonumber(kept[4]), kept[5] and 1 or 0, kept[6]
if number <= last then return { 'duplicate', stop } end
if kept[3] == 'ended' then return { 'closed', stop } end
if number > last + 1 then return { 'gap', stop } end

redis.call('XADD', journal, number .. '-0', 'batch', ARGV[7])
redis.call('HSET', key, 'last', number, 'position', ARGV[8])
local ttl = tonumber(ARGV[11])
if ARGV[9] ~= '' then redis.call('SET', p .. 'answer:' .. room .. ':' .. ARGV[9], turn, 'PX', ttl + window) end
if ended then
  redis.call('HSET', key, 'state', 'ended')
  redis.call('HDEL', key, 'prompt')
  has_ended(p, room, turn)
  redis.call('PEXPIRE', p .. 'asked:' .. kept[8], window)
  redis.call('PEXPIRE', key, window)
  redis.call('PEXPIRE', journal, window)
elseif number % RENEWED_EVERY == 1 then
  local t = redis.call('TIME')
  redis.call('ZADD', p .. 'leases', t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[10]), turn)
  redis.call('PEXPIRE', p .. 'leases', ttl + window)
  redis.call('PEXPIRE', p .. 'running:' .. room, ttl)
  redis.call('PEXPIRE', key, ttl)
  redis.call('PEXPIRE', journal, ttl)
end

post_to_others(p, node, room, ARGV[13], ARGV[14], 'kind', 'said', 'room', room, 'turn', turn, 'number', number,
  'ended', ARGV[6], 'batch', ARGV[7])
run_copies(15)
return { 'ok', stop }
