-- Decide who owns the turn of a request.
-- ARGV: prefix, node, turn, asked, digest, limit, room, request, prompt, streaming, lease ms, ttl ms, window ms,
--       name of this call
local p, node, turn, digest, room = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[7]
local asked, running = p .. 'asked:' .. ARGV[4], p .. 'running:' .. room
local ttl, window = tonumber(ARGV[12]), tonumber(ARGV[13])

local known = redis.call('GET', asked)
local kept = known and redis.call('HMGET', p .. 'turn:' .. known, 'digest', 'claim')
if kept and kept[1] then
  if kept[2] == ARGV[14] then return { 'claimed', known } end -- by this call: its answer got lost
  return { kept[1] == digest and 'attached' or 'conflict', known }
end

local count = 0
for _, other in ipairs(redis.call('SMEMBERS', running)) do
  if redis.call('EXISTS', p .. 'turn:' .. other) == 1 then count = count + 1
  else redis.call('SREM', running, other) end
end
if count >= tonumber(ARGV[6]) then return { 'busy', '' } end

redis.call('DEL', p .. 'turn:' .. turn, p .. 'journal:' .. turn)
redis.call('HSET', p .. 'turn:' .. turn, 'owner', node, 'claim', ARGV[14], 'epoch', 1, 'last', 0, 'state', 'running',
  'digest', digest, 'room', room, 'request', ARGV[8], 'asked', ARGV[4], 'prompt', ARGV[9], 'streaming', ARGV[10],
  'position', '')
redis.call('PEXPIRE', p .. 'turn:' .. turn, ttl)
redis.call('SET', asked, turn, 'PX', ttl + window)
redis.call('SET', p .. 'name:' .. room .. ':' .. ARGV[8], turn, 'PX', ttl + window)
redis.call('SADD', running, turn)
redis.call('PEXPIRE', running, ttl)
local t = redis.call('TIME')
redis.call('ZADD', p .. 'leases', t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[11]), turn)
redis.call('PEXPIRE', p .. 'leases', ttl + window)
return { 'claimed', turn }
