-- Keep a turn anew whose journal is gone, all it has said as one batch.
-- ARGV: prefix, node, turn, epoch, number, ended, batch, position, asked, digest, room, request, prompt, streaming,
--       lease ms, ttl ms, window ms, answer, stop, inbox length, inbox ms, copies
local p, node, turn, room = ARGV[1], ARGV[2], ARGV[3], ARGV[11]
local key, journal = p .. 'turn:' .. turn, p .. 'journal:' .. turn
if redis.call('EXISTS', key) == 1 then
  local kept = redis.call('HMGET', key, 'owner', 'epoch')
  if kept[1] ~= node or kept[2] ~= ARGV[4] then return 'fenced' end
end
local ended = ARGV[6] == '1'
local window = tonumber(ARGV[17])
local ttl = ended and window or tonumber(ARGV[16])
redis.call('DEL', key, journal)
redis.call('HSET', key, 'owner', node, 'epoch', ARGV[4], 'last', ARGV[5], 'state', ended and 'ended' or 'running',
  'digest', ARGV[10], 'room', room, 'request', ARGV[12], 'asked', ARGV[9], 'streaming', ARGV[14], 'position', ARGV[8])
redis.call('XADD', journal, ARGV[5] .. '-0', 'batch', ARGV[7])
redis.call('PEXPIRE', key, ttl)
redis.call('PEXPIRE', journal, ttl)
redis.call('SET', p .. 'asked:' .. ARGV[9], turn, 'PX', ttl + window)
redis.call('SET', p .. 'name:' .. room .. ':' .. ARGV[12], turn, 'PX', ttl + window)
if ended then
  has_ended(p, room, turn)
else
  redis.call('HSET', key, 'prompt', ARGV[13])
  redis.call('SADD', p .. 'running:' .. room, turn)
  redis.call('PEXPIRE', p .. 'running:' .. room, ttl)
  local t = redis.call('TIME')
  redis.call('ZADD', p .. 'leases', t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[15]), turn)
  redis.call('PEXPIRE', p .. 'leases', ttl + window)
end
if ARGV[18] ~= '' then redis.call('SET', p .. 'answer:' .. room .. ':' .. ARGV[18], turn, 'PX', ttl + window) end
if ARGV[19] == '1' then redis.call('HSET', key, 'stop', 1) end
post_to_others(p, node, room, ARGV[20], ARGV[21], 'kind', 'anew', 'room', room, 'turn', turn)
run_copies(22)
return 'ok'
